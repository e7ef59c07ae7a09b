// The simulated submitter, executor, driver and pool. Each follows its original step by step:
// runtime/dispatcher.cc, take_back.cc, completion_reader.cc, peer_death.cc; worker/executor.cc,
// execution.cc; worker/pool_clients.cc and pool_leases.cc. What decides is the original: LeaseCore,
// PoolCore, DispatchCore and the ring code.
#pragma once

#include <deque>
#include <optional>

#include "base/pair_ring.h"
#include "runtime/dispatch_core.h"
#include "scheduler/lease_core.h"
#include "tests/simulation/model.h"
#include "tests/simulation/script.h"
#include "worker/pool_core.h"

namespace sheaf::simulation {

class Submitter {
 public:
  Submitter(Cluster& cluster, Process& self) : cluster_(cluster), self_(self) {}

  void Submit(Task& task);
  void Pump();
  bool TakeForInline(Task& task);
  Task* TakeOldestForInline();  // whose inputs are there
  void FinishInline(Task& task, bool error, const std::uint64_t value[2]);
  void OpenOut(const lease::OpenPair& pair, std::uint32_t nonce);
  void PeerGone(Client peer);
  void FailAll();
  bool Uses(Client dead) const;
  std::uint64_t outstanding() const { return outstanding_; }
  std::string Describe() const;

 private:
  struct Lane {
    std::uint32_t head = 0, tail = 0;
    std::vector<std::uint32_t> slots;
  };
  struct OutPair {
    Client peer = 0;
    std::uint32_t peer_region = 0, nonce = 0;
    store::OutRegion* out = nullptr;
    const store::InRegion* in = nullptr;
    const Memory* memory = nullptr;
    Lane lanes[2];
    std::uint32_t may_wait = 0;
    Ring::Recall recall;
    bool matched = false;
  };
  static constexpr std::uint32_t kTakenBack = ~std::uint32_t{0};

  runtime::DispatchCore::Choice Choose(const Task& task);
  bool TryPush(Task& task);
  bool InputsPushed(const Task& task);
  void Push(int index, int lane, Task& task, Time start, bool inputs_ready = false);
  bool TakesReady(int index);
  static bool IsTaken(const OutPair& pair);
  void Consume(int index);
  void ConsumeLane(int index, int lane);
  void TakeBack(int index, std::uint32_t from, std::uint32_t end);
  void Retry(Task& task, bool begun, Client peer);
  void Requeue(Task& task);
  void Settle(Task& task, bool error, const std::uint64_t value[2]);
  bool InputsReady(const Task& task);
  void PushRequeue();
  void PushBacklog();
  void Want();
  bool IsBacklog(std::uint32_t id) { return cluster_.TaskOf(id).phase == Phase::kBacklog; }

  Cluster& cluster_;
  Process& self_;
  runtime::DispatchCore core_;
  std::map<int, OutPair> pairs_;
  std::deque<std::uint32_t> backlog_, requeue_;
  std::uint64_t outstanding_ = 0;
  std::uint32_t wanted_ = 0;
  Time idle_since_ = 0;
};

class Executor {
 public:
  Executor(Cluster& cluster, Process& self) : cluster_(cluster), self_(self) {}

  // One step; the time until the next, or nullopt: the process exits.
  std::optional<Time> Step();
  void OpenIn(const lease::OpenPair& pair, std::uint32_t nonce);
  void PeerGone(Client peer);
  void Drain() { draining_ = true; }
  bool Uses(Client dead) const;
  bool idle() const { return frames_.empty(); }
  std::string Describe() const;

 private:
  struct InPair {
    Client peer = 0;
    std::uint32_t nonce = 0, urgent_next = 0;
    const store::OutRegion* out = nullptr;
    store::InRegion* in = nullptr;
    Ring::Cursor cursor;
    bool matched = false, gone = false, ended = false;
  };
  struct Frame {
    std::uint32_t task = 0;
    int region = -1, lane = 0;  // -1: inline
    std::uint32_t position = 0;
    enum { kGather, kRun, kPublish } stage = kGather;
    std::vector<Op> script;
    std::size_t at = 0;
    std::vector<std::uint32_t> children;
    std::uint64_t value[2] = {};
    bool error = false, started = false;
    Time waits_since = -1;
    bool told = false;
    std::vector<std::uint32_t> held;  // refs of others
  };

  Time StepFrame();
  std::optional<Time> LookAround();
  bool TryLane(int region, InPair& pair, int lane);
  static bool Matched(InPair& pair);
  void GiveBack(InPair& pair);
  void Begin(std::uint32_t task, int region, int lane, std::uint32_t position);
  bool Await(Frame& frame, std::uint32_t object, std::uint64_t* value, bool* error);
  Time WorkWhileWaiting(Frame& frame, std::uint32_t object);
  void Publish(Frame& frame);
  void Finish(Frame& frame);
  bool Ready(const Task& task);
  void Hold(Frame& frame, std::uint32_t object);
  void SetBlocked(Frame& frame, bool blocked);

  Cluster& cluster_;
  Process& self_;
  std::map<int, InPair> pairs_;
  std::vector<Frame> frames_;
  bool draining_ = false;
  Time pause_ = 0;
};

// The user's program: submits, awaits, passes refs on, and says goodbye.
class Driver {
 public:
  Driver(Cluster& cluster, Process& self);
  std::optional<Time> Step();
  bool done() const { return done_; }
  std::string Describe() const;

 private:
  Cluster& cluster_;
  Process& self_;
  Random random_;
  int left_;
  std::vector<std::uint32_t> open_, known_;
  std::size_t awaited_ = 0, next_planned_ = 0;
  bool done_ = false;
};

class Pool {
 public:
  Pool(Cluster& cluster);

  void StartDriver();
  void Kill(Client client);                        // the process is dead from now on; the pool hears of it later
  void Send(Process& from, lease::Event message);  // what a client says on its socket
  void Acknowledge(Process& from, Client dead);
  void Leave(Process& from);
  const lease::LeaseCore& leases() const { return leases_; }
  const PoolCore& core() const { return core_; }
  void FailSpawns(int times) { failing_ = times; }

 private:
  void Tell(const lease::Event& event);
  void Carry(const lease::Action& action);
  void Apply(const PoolCore::Actions& actions);
  void Spawned(lease::Spawn spawn, Client job);
  void Died(Client client);
  void ToClient(Client client, std::function<void(Process&)> what);
  void FromClient(Process& from, std::function<void()> what);
  void DrainWorker(Client worker);
  void RunProcess(Process& process);
  Process& NewProcess(Client id, Client job);
  void Tick();

  Cluster& cluster_;
  PoolCore core_;
  lease::LeaseCore leases_;
  std::set<lease::Spawn> cancelled_;
  std::uint32_t next_nonce_ = 1;
  Time tick_at_ = 0;
  int failing_ = 0;
};

}  // namespace sheaf::simulation
