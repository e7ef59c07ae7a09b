// execute and seal: the worker's side. Runs the tasks that submitters push, on the process's main thread.
//
// Looks at every pair: first the urgent lane, then lane 0. Claims only what is ready, so no head ever blocks the heads of other pairs.
// Protocol: docs/dispatch.md. The pairs arrive on the helper thread and are handed over by one atomic pointer each; result records and kept
// borrows are guarded by the submitter's lock, because any thread may drop the last pin on them.
#pragma once

#include <array>
#include <atomic>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/pair_ring.h"
#include "runtime/context.h"
#include "runtime/getter.h"
#include "runtime/home_value.h"

namespace sheaf::worker {

struct InPair {
  std::uint32_t peer = 0;
  store::Peer* mapped = nullptr;
  const store::OutRegion* out = nullptr;  // the submitter's
  store::InRegion* in = nullptr;          // ours
  std::uint32_t region = 0, nonce = 0;
  bool matched = false;
  Ring::Cursor cursor;            // lane 0
  std::uint32_t urgent_next = 0;  // position to look at
  std::uint64_t rung_want[2] = {0, 0};
  std::atomic<bool> gone{false};       // the submitter is dead: run nothing more of it
  std::atomic<std::uint32_t> away{0};  // relays: tasks claimed here whose results are still to come
  bool ended = false;
  // Relays: since when the urgent lane's head waits for its inputs (0: it does not), how long it may, and up to where it may not.
  std::int64_t urgent_waits = 0, urgent_patience = 0;
  std::uint32_t urgent_passed = 0;
  // Guarded by the submitter's lock:
  std::uint32_t release_read = 0, kept_written = 0;
  std::deque<std::uint32_t> kept_overflow;
  std::atomic<bool> kept_waits{false};  // kept_overflow has something: for a look without the lock
};

class Executor : public runtime::TaskRunner {
 public:
  explicit Executor(runtime::Context& context, bool forwards = false);

  // Until drained, or the pool is gone. Returns the process's exit code.
  int Run();

  bool OnThisThread() const override { return std::this_thread::get_id() == thread_; }
  bool RunInline(runtime::ObjectRoot* root) override;
  bool WorkWhileWaiting() override;
  void OpenIn(const wire::OpenPair& message, store::Peer* peer) override;
  void OnStartCall(const wire::StartCall& call, std::string arguments) override;
  void PeerGone(std::uint32_t client) override;
  void PeerForgotten(std::uint32_t client) override;
  void Drain(bool job_over) override;
  void TakeReleases() override;
  void RunWhenIdle(std::function<void()> f) override;

 protected:
  // What a relay (forwards_) does otherwise: it takes tasks without running them, and publishes their results when they come.
  struct Task {
    InPair* pair;
    int lane;
    std::uint32_t position, slot_index;
    const store::Slot* slot;
  };
  virtual bool CanForward(const Task&) { return false; }
  virtual bool Forward(const Task&) { return false; }  // claims it if it can
  virtual std::uint32_t Arrived() { return 0; }        // results that have come, published; how many
  virtual void ForwardStart(const wire::StartCall&, const detail::Stored&) {}
  virtual void Rest() {}                          // nothing to do: the loop is about to sleep
  virtual bool AwaitsObjects() { return false; }  // of any client: it wants to hear of every publication
  virtual bool MayEnd() { return true; }          // drained, and nothing is away

  struct ResultRecord {
    std::uint32_t submitter = 0;
    std::vector<detail::Pin> holds;
  };
  using Outcome = runtime::HomeValue;  // of one run, before it is published

  bool ClaimNext(const Task& task);           // false: it was taken back
  void GiveBackHead(InPair& pair, int lane);  // its submitter knows other workers
  // Makes the result of a claimed task visible. `incoming` must be the caller's last use of it.
  void Seal(InPair& pair, int lane, std::uint32_t position, runtime::IncomingRoot* incoming, Outcome& outcome);

  std::uint32_t LookAt(InPair& pair);
  static bool Matched(InPair& pair);
  bool TryLane(InPair& pair, int lane);
  void GiveBack(InPair& pair, int lane);
  std::uint64_t BoundHere(const InPair& pair, int lane, std::uint32_t position) const;
  bool MayLeave();
  void RingSubmitter(InPair& pair, int lane, std::uint32_t position);
  // The lane-0 entry whose inputs are gathered; nullptr: of another lane, or just a look.
  struct Entry {
    const InPair* pair = nullptr;
    std::uint32_t position = 0;
  };
  bool Gather(const Entry& entry, const store::TaskRecord& record, runtime::IncomingRoot* incoming,
              std::vector<detail::Stored>* dependencies);
  const store::Completion* FindOwn(const Entry& entry, const store::DependencyRecord& dependency) const;
  bool GatherOne(const Entry& entry, const store::DependencyRecord& dependency, runtime::IncomingRoot* incoming,
                 detail::Stored* stored);
  std::uint32_t ExecuteTimed(const store::TaskRecord& record, runtime::IncomingRoot* incoming,
                             std::vector<detail::Stored>& dependencies, Outcome* outcome);
  void Execute(const store::TaskRecord& record, runtime::IncomingRoot* incoming,
               std::vector<detail::Stored>& dependencies, Outcome* outcome);
  void Call(const store::TaskRecord& record, runtime::IncomingRoot* incoming, std::vector<detail::Stored>& dependencies,
            detail::Encoder& result, Outcome* outcome);
  void StoreOutcome(detail::Encoder& result, Outcome* outcome);
  bool SpeaksOfUnfinished(const Outcome& outcome) const;
  void Publish(InPair& pair, int lane, std::uint32_t position, Outcome& outcome);
  std::uint32_t KeepRecord(std::uint32_t submitter, std::vector<detail::Pin> holds);
  void DrainReleasesLocked(InPair& pair);
  void WriteKeptLocked(InPair& pair, std::uint32_t slot);
  void FreeIncoming(runtime::IncomingRoot* incoming);  // submitter's lock held
  runtime::IncomingRoot* TakeIncoming();
  void EndPair(InPair& pair);
  void RunStartCalls();
  void RunIdleWork();
  bool RunOwn();  // one of this worker's own queued tasks
  void Sleep();
  void StepAside();
  bool HasWork(bool* starved);
  bool StackLeft() const;

  runtime::Context& context_;
  const bool forwards_;
  const std::thread::id thread_;
  const std::uintptr_t stack_low_;
  std::array<std::atomic<InPair*>, limits::kPairsMax> pairs_{};
  std::atomic<std::uint32_t> pairs_end_{0};
  std::vector<ResultRecord> records_;  // index + 1 is the name; submitter's lock
  std::vector<std::uint32_t> free_records_;
  std::vector<runtime::IncomingRoot*> spare_incoming_;                // executor thread only
  std::vector<detail::Stored> gathered_;                              // the same; reused from task to task
  std::vector<std::unique_ptr<std::vector<std::byte>>> lost_inputs_;  // errors made up for inputs that are gone
  std::mutex idle_mutex_;
  std::vector<std::function<void()>> idle_work_;
  std::vector<std::pair<wire::StartCall, std::string>> start_calls_;
  std::atomic<bool> has_idle_work_{false}, has_start_calls_{false}, draining_{false}, job_over_{false};
  std::int64_t leaving_since_ = 0;  // draining, and nothing is left but values that lie on other machines
  std::uint32_t sleep_value_ = 1;
  std::uint64_t executed_ = 0;
  // By function, modulo the size. A look at the clock costs as much as a short task: of these every eighth is measured.
  struct Pace {
    std::uint8_t runs = 0;
    bool slow = false;
  };
  std::array<Pace, 64> paces_;
  std::uint64_t missing_input_ = 0;  // home word of the input that Gather found missing, if a worker has its task
  std::uint64_t awaited_ = 0;        // what HasWork found to be the only thing missing; 0: several, or unknown
  bool said_blocked_ = false;        // draining: nobody should push here any more
  int depth_ = 0;                    // tasks on this thread's stack
};

}  // namespace sheaf::worker
