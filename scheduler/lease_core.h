// Which job has how many worker processes, and which submitter has a ring pair with which worker.
//
// Sans-IO: events and the time go in, actions come out, in the order in which they must happen. The
// pool is the shell.
//
// A worker belongs to one job. A lease does not exclude: a worker serves every submitter that it
// has a pair with. What is counted are CPUs: a worker that runs (or is being started) occupies its
// job's width, a worker that waits inside Get occupies nothing. A job's width is the widest task
// that one of its clients waits to run, at least one CPU and exact in thousandths: any worker of
// the job may get that task, so each is counted as wide. Fractions below a CPU buy nothing, as a
// process runs one task at a time. Width asked for is never dropped silently: more than the pool
// has is refused.
//
// What tasks need besides CPUs (custom resources, labels) is a shape. The workers of one shape are
// a job's crew: such a task runs on a worker of its crew and on no other, so what the crew holds is
// known exactly. A width is that of a crew. A worker keeps its custom resources while it waits
// inside Get (what it has in a device stays there), and as long as its process lives.
//
// A relay is a worker without a CPU: it sends its tasks to another pool, by a grant of the
// cluster's scheduler. Clients say how many CPUs elsewhere they could use; the shell asks for them
// and reports the relays, the core connects.
//
// Every decision is a level, not an edge: after each event the core compares what is with what
// should be (Plan) and says what to do about the difference, so a lost or repeated wish does no
// harm. Shares between jobs are max-min fair in CPUs; where not even one worker each fits, crews
// take turns.
//
// Single-threaded; not synchronised. Check() aborts where an invariant does not hold and runs after
// every event.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "scheduler/lease_state.h"

namespace sheaf::lease {

// ---- events
struct JobStarted {  // a driver has attached; its id is the job's
  Client job = 0;
  std::uint32_t slots_max = ~std::uint32_t{0};  // by whose grant it runs here: no more workers at once
};
struct ShapeNamed {  // before the first Want of that shape; never changed
  Client job = 0;
  Shape shape = 0;
  Needs needs;
};
struct JobLimited {  // by another grant
  Client job = 0;
  std::uint32_t slots_max = 0;
};
struct JobEnded {  // the driver left or died: it is a client no more, its workers are stopped
  Client job = 0;
};
struct WorkerReady {  // the process of that spawn has attached
  Spawn spawn = 0;
  Client client = 0;
};
struct SpawnFailed {  // could not be started, or ended before it was ready
  Spawn spawn = 0;
  int error = 0;
};
struct Want {  // how many workers the client could use now, and the widest task among what waits
  Client client = 0;
  std::uint32_t workers = 0;
  std::uint32_t cpus_milli = 1000;
  std::uint32_t elsewhere = 0;  // and how many more on other machines
  Shape shape = 0;
};
struct RelayReady {
  Client client = 0, job = 0;
  std::uint32_t places = 1, cpus_milli = 1000;  // as its grant says
  Shape shape = 0;
};
struct RelayLeaving {  // its grant has ended: no more pairs
  Client client = 0;
};
struct Blocked {  // a worker's task waits inside Get, or runs on
  Client client = 0;
  bool blocked = false;
};
struct ClientDied {  // the process is known to be gone
  Client client = 0;
  std::int32_t status = 0;
};
// `survivor` was told that nobody uses `dead` any more: the region that it kept with results for it may be lent again.
struct PeerForgotten {
  Client survivor = 0;
  Client dead = 0;
};
struct WorkerReturned {  // asked for by ClosePair, or by itself after lowering its Want
  Client submitter = 0;
  Client worker = 0;
};
struct Drain {};  // the pool ends: no more workers, all are stopped
struct Tick {};
using Event = std::variant<JobStarted, ShapeNamed, JobLimited, JobEnded, WorkerReady, SpawnFailed, Want, RelayReady,
                           RelayLeaving, Blocked, ClientDied, PeerForgotten, WorkerReturned, Drain, Tick>;

// ---- actions
struct SpawnWorker {
  Spawn spawn = 0;
  Client job = 0;
};
// Kill that process if it exists. A SpawnFailed for it ends what it holds besides a CPU; where it never comes, that stays held.
struct CancelSpawn {
  Spawn spawn = 0;
};
struct OpenPair {
  Client submitter = 0;
  std::uint32_t out_region = 0;
  Client worker = 0;
  std::uint32_t in_region = 0;
};
struct ClosePair {  // ask the submitter to give the worker back: WorkerReturned
  Client submitter = 0;
  Client worker = 0;
};
struct FreePair {  // both may forget the pair; its regions may be lent again from now on
  Client submitter = 0;
  std::uint32_t out_region = 0;
  Client worker = 0;
  std::uint32_t in_region = 0;
};
struct StopWorker {  // finish what is claimed and exit. Said once for each worker
  Client worker = 0;
};
enum class Reason { kInfeasible, kSpawnFailed, kStopping, kLimit };
struct Refuse {  // the client's Want of that shape counts as 0 from now on; it may want again
  Client client = 0;
  Reason reason = Reason::kInfeasible;
  Shape shape = 0;
};
using Action = std::variant<SpawnWorker, CancelSpawn, OpenPair, ClosePair, FreePair, StopWorker, Refuse>;

class LeaseCore {
 public:
  struct Config {
    std::uint32_t slots = 1;               // CPUs; 0 only in a cluster
    bool clustered = false;                // what does not fit here may fit elsewhere
    Needs has;                             // this machine's custom resources and labels
    std::uint32_t extra_workers_max = 64;  // processes beyond the slots, while others wait inside Get
    std::uint32_t pairs_max = 8;           // regions of each direction in every client's control segment
    Time spawn_timeout = 30'000'000'000;
    Time idle_worker_ttl = 10'000'000'000;  // of workers beyond a job's target that are in nobody's way
    Time backoff_first = 10'000'000;        // after a process that died before it was ready; doubles
    std::uint32_t spawn_failures_max = 5;   // in a row, then the job's clients are refused
    Time turn = 2'000'000'000;              // how long a job without a worker waits for its turn
    Time stuck_after = 10'000'000'000;      // all wait, none may be added: then refuse with kLimit
    // Deliberate mistakes, for tests that must find them. Never set outside tests.
    bool bug_blocked_keeps_slot = false;
    bool bug_want_lost_while_spawning = false;
    bool bug_region_freed_at_death = false;
  };

  explicit LeaseCore(const Config& config);

  std::vector<Action> OnEvent(const Event& event, Time now);
  // When a Tick is due at the latest; kNever: nothing is awaited.
  Time NextDeadline() const;
  void Check() const;

  // ---- for status and tests
  const Config& config() const { return config_; }
  const std::map<Client, ClientView>& clients() const { return clients_; }
  const std::map<PairKey, PairView>& pairs() const { return pairs_; }
  const std::map<Spawn, SpawnView>& spawns() const { return spawns_; }
  const std::map<Client, JobView>& jobs() const { return jobs_; }
  const std::map<CrewKey, CrewView>& crews() const { return crews_; }
  std::uint32_t Width(CrewKey crew) const;    // milli-CPUs of each worker of the crew
  std::uint32_t Running(CrewKey crew) const;  // workers that occupy a slot, those being started included
  std::uint64_t OccupiedMilli(Client job) const;
  std::uint64_t OccupiedMilli() const;
  // Of a custom resource, by workers and those being started, in thousandths. `job`: of that one alone; 0: of all.
  std::uint64_t Held(const std::string& resource, Client job = 0) const;
  std::uint64_t Elsewhere(CrewKey crew) const;  // workers that its clients could use on other machines

 private:
  void On(const JobStarted& event, Time now);
  void On(const ShapeNamed& event, Time now);
  void On(const JobLimited& event, Time now);
  void On(const JobEnded& event, Time now);
  void On(const WorkerReady& event, Time now);
  void On(const SpawnFailed& event, Time now);
  void On(const Want& event, Time now);
  void On(const RelayReady& event, Time now);
  void On(const RelayLeaving& event, Time now);
  void On(const Blocked& event, Time now);
  void On(const ClientDied& event, Time now);
  void On(const PeerForgotten& event, Time now);
  void On(const WorkerReturned& event, Time now);
  void On(const Drain& event, Time now);
  void On(const Tick& event, Time now);

  // lease_plan.cc: from what is to what should be.
  void Plan(Time now);
  void Share(Time now);  // each crew's target
  void StartWorkers(Time now);
  void StopSurplus(Time now);
  void RefuseTheStuck(Time now);
  bool Wants(Client job) const;
  bool AllWait(Client job) const;
  bool HeldByWaiting(CrewKey crew) const;
  std::map<std::string, std::uint64_t> KeptByWaiting() const;
  std::uint64_t Demand(CrewKey crew) const;  // workers
  std::uint64_t LiveWorkers() const;
  std::uint32_t Kept(CrewKey crew) const;     // of Running, those that are not being stopped
  std::uint32_t Waiting(CrewKey crew) const;  // inside Get

  // lease_room.cc: stops what is in the way of a crew below its target.
  void MakeRoom();
  using Amount = std::function<std::uint64_t(CrewKey)>;  // of each worker of that crew
  void MakeRoomOf(const Amount& amount, std::uint64_t capacity, bool while_waiting);
  Client PickToStop(CrewKey crew) const;

  // lease_pairs.cc
  void ConnectClients();
  Client PickWorkerFor(Client submitter, Shape shape, bool relay) const;
  bool Connect(Client submitter, Shape shape, bool relay);  // false: there is nobody to connect it with
  void AskForARegion(Client submitter, Shape shape);
  std::uint32_t UsablePairs(Client submitter, Shape shape, bool relays = false) const;
  std::uint32_t PairsOf(Client worker) const;

  void EndJob(Client job);
  void Stop(Client worker);
  std::map<Spawn, SpawnView>::iterator Cancel(std::map<Spawn, SpawnView>::iterator spawn);  // the next one
  void BreakPairs(Client dead);
  void ErasePair(PairKey key);
  void RefuseJob(Client job, Reason reason);
  void SpawnEnded(Client job, bool ready, Time now);
  ClientView* Find(Client client);
  std::uint64_t CapacityMilli() const { return std::uint64_t{config_.slots} * 1000; }

  const Config config_;
  std::map<Client, ClientView> clients_;
  std::map<Client, JobView> jobs_;
  std::map<CrewKey, CrewView> crews_;
  std::map<Spawn, SpawnView> spawns_;
  std::map<Spawn, Needs> cancelled_;  // hold custom resources until their process is known to be gone
  std::map<PairKey, PairView> pairs_;
  std::vector<CrewKey> turns_;   // the order in which crews are served
  Time waiting_since_ = kNever;  // some crew wants and has no share
  Spawn next_spawn_ = 1;
  bool draining_ = false;
  std::vector<Action> actions_;  // of the event in hand
};

// One line, for logs, digests and test failures.
std::string Describe(const Action& action);

}  // namespace sheaf::lease
