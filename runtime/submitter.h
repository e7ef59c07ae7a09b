// The submitting side of a process: backlog, leased workers, completions, and what each task keeps alive.
//
// Threads: any. One private mutex guards everything; methods named ...Locked require it. User code never runs under it:
// hooks of finished objects are collected and called after Unlock. The rings themselves need no lock: each half
// has one writing process, and this mutex makes the threads of a process one writer.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/check.h"
#include "base/pair_ring.h"
#include "object_store/peer_table.h"
#include "runtime/dispatch_core.h"
#include "runtime/pool_socket.h"
#include "runtime/slot_table.h"

namespace sheaf::runtime {

struct Lane {
  std::uint32_t head = 0;  // next position to consume
  std::uint32_t tail = 0;  // next position to push
  std::vector<std::uint32_t> slots;
  std::vector<std::uint32_t> costs;    // by position: nanoseconds that the task was expected to take
  std::vector<std::uint64_t> targets;  // tags that sleeping threads wait for; with kWantRead, to read the result
};
inline constexpr std::uint32_t kTakenBack = ~std::uint32_t{0};  // in Lane::slots: nothing to expect at this position

struct OutPair {
  std::uint32_t peer = 0;
  store::Peer* mapped = nullptr;
  store::OutRegion* out = nullptr;      // ours
  const store::InRegion* in = nullptr;  // the worker's
  const store::ControlHeader* control = nullptr;
  std::uint32_t peer_region = 0;
  Lane lanes[2];
  std::uint32_t release_written = 0, kept_read = 0;
  std::deque<std::uint32_t> release_overflow;
  std::uint32_t rung_asleep = 0;
  // Lane tails and releases when the worker was last looked at: it knows of what came before, or was rung for it.
  std::uint32_t told = 0, told_urgent = 0, told_released = 0;
  std::uint32_t may_wait = 0;  // the position after the last ordinary entry whose inputs may have been missing
  std::uint32_t nonce = 0;
  bool matched = false;           // the worker has reset its half for this pair
  Ring::Recall recall;            // lane 0
  std::vector<Pin> recall_holds;  // what the worker may still look at until it acknowledges
  bool in_use = false;
  bool dead = false;
  std::uint32_t widest = 0;  // thousandths of a CPU that a task may ask for
  std::uint32_t places = 0;  // more than 0: a relay, whose tasks end in any order
  std::uint32_t shape = 0;   // of the tasks that it runs
  // A relay: large objects that were sent there or made there, by slot and generation, and when last (locality.cc).
  std::unordered_map<std::uint64_t, std::int64_t> there;
  std::int64_t swept = 0;
};

// A place in a queue. A task run inline leaves its place behind; the generation says that the slot has moved on.
struct QueuedTask {
  std::uint32_t slot, generation;
};

// Tasks that need the same: shape 0 nothing but CPUs, the others what `needs` says. Each has its own queue, as a task that waits for a
// rare worker must not stand before one that another could run.
struct ShapeQueue {
  std::string needs;
  std::deque<QueuedTask> backlog;
  std::uint64_t waiting =
      0;  // entries of `backlog` and among the requeued that are still kBacklog; not kept for shape 0
  std::uint64_t outstanding = 0;  // submitted, not ready; not kept for shape 0
  std::map<std::uint32_t, std::uint64_t>
      wide;  // unfinished tasks by thousandths of a CPU, where these are more than 1000
  // As the pool was told; wanted_milli 0: it must be told again.
  std::uint32_t wanted = 0, wanted_milli = 1000, wanted_elsewhere = 0;
  std::int64_t last_ready = 0;  // when an object became ready last, or tasks began to wait
  std::uint64_t most = 0;       // unfinished tasks at a time, in the last second:
  std::int64_t most_since = 0;  // which began then
  // Every worker of the shape counts as wide as the widest unfinished task, as any may get it. Thousandths of a CPU.
  std::uint32_t Widest() const { return wide.empty() ? 1000 : wide.rbegin()->first; }
};

// A task that has ended, and may have to run again: its value speaks of objects of `made_by` that are not there yet, or has
// blocks that lie on another machine still.
struct Remembered {
  QueuedTask place;
  std::uint32_t made_by = 0;
  std::uint32_t shape = 0, cpus_milli = 0;  // as Extra has them before the end
  std::uint64_t number = 0;                 // in the order in which they ended
  std::int64_t look_at = 0, waited = 0;     // when to see next whether it is still so
  bool away = false, deep = false;          // while it is taken, as is: see Extra; deep: its blocks shall come
  ObjectRoot* root = nullptr;               // only while it is taken, as is:
  Pin pin;
};

class Submitter {
 public:
  struct Parts {
    std::uint16_t life = 0;
    std::uint32_t client = 0;
    std::uint32_t slots = 1;  // of the pool
    store::ControlHeader* control = nullptr;
    store::PeerTable* peers = nullptr;
    store::BlockHeap* heap = nullptr;
    PoolSocket* socket = nullptr;
    bool is_worker = false;
    bool clustered = false;  // other pools may help
  };
  Submitter(const Parts& parts, SlotTable::MakeSlab make_slab);

  // ---- submit, dispatch (submitter.cc, dispatcher.cc)
  RefCore Submit(std::uint32_t function, std::uint64_t digest, detail::Encoder& arguments,
                 const detail::SubmitOptions& options);
  RefCore Put(detail::Encoder& value);
  // An object whose value this process brings later, once, with FinishInlineLocked. It is nobody's task: no worker is wanted
  // for it, and it waits in no queue.
  RefCore Promise();
  void KeepPromise(ObjectRoot* root, std::uint32_t flags, std::span<const std::byte> payload, std::vector<Pin> holds);
  // The machine, if whoever gets the errors of these tasks is on another one. Set before the first task.
  std::string place;
  bool stay_here = false;  // what is submitted came from another pool: ask none for help with it
  std::string own_needs;   // of the tasks that this process is kept for, besides CPUs; set before the first task
  void PumpLocked();       // consume what has finished, push what waits, take back what is stuck
  // Nothing to do for a while: the pool may use our workers' slots for others. `all`: for long; else what is kept for shapes alone.
  void LowerWantLocked(bool all, std::int64_t now);
  void OpenPairLocked(const wire::OpenPair& message, store::Peer* peer);
  // The first queued tasks whose inputs are there: what an idle worker runs itself. nullptr: none.
  ObjectRoot* RunnableLocked();
  // Takes a task of our backlog for running it here. False: it is no longer there.
  bool TakeForInlineLocked(ObjectRoot* root);
  void FinishInlineLocked(ObjectRoot* root, std::uint32_t flags, std::span<const std::byte> payload,
                          std::vector<Pin> holds);

  // ---- complete, free (completion_reader.cc)
  bool FinishedLocked(const ObjectRoot& root) const { return root.phase == Phase::kReady; }
  // Whether the worker that has the task has not woken up for it yet.
  bool WorkerSleepsLocked(const ObjectRoot& root) const {
    const std::uint8_t index = root.pair.load(std::memory_order_relaxed);
    return root.phase == Phase::kPushed && index != kNoPair &&
           PairAt(index).control->asleep.load(std::memory_order_relaxed) != 0;
  }
  std::uint32_t BlockedWorkersLocked() const;  // that run tasks of this process, and wait inside Get
  bool WorkersAreAsleepLocked() const;         // of all that this process has
  bool AwaitsOthersLocked(const OutPair& pair) const;
  bool RunsElsewhereLocked(const ObjectRoot& root) const {  // on another machine
    const std::uint8_t index = root.pair.load(std::memory_order_relaxed);
    return root.phase == Phase::kPushed && index != kNoPair && PairAt(index).places > 0;
  }
  // Without the lock: whether the worker has published the result of a pushed task (or it was consumed).
  bool LooksFinished(const ObjectRoot& root) const;
  void AddTargetsLocked(const ObjectRoot* root, bool next, std::vector<std::pair<Lane*, std::uint64_t>>* added);
  void RemoveTargetsLocked(const std::vector<std::pair<Lane*, std::uint64_t>>& added);
  void FreeLocked(Root* root);
  void DropLocked(Pin pin);

  // ---- deaths (peer_death.cc)
  void PeerGoneLocked(std::uint32_t client, int status);
  void PeerForgottenLocked(std::uint32_t client);
  void EndLoansLocked(std::uint32_t dead);  // nobody but this process looks at its memory any more
  void FailAllLocked(std::string_view kind, const std::string& message);  // the pool is lost
  void FailQueuedLocked(std::string_view kind, const std::string& message, std::uint32_t shape,
                        bool widest_only = false);
  void FailLocked(ObjectRoot* root, std::string_view kind, const std::string& message);
  // Sends kGoneAck for dead peers that nothing here uses any more.
  void AcknowledgeDeadLocked();

  // ---- what may have to run again (lineage.cc; docs/decisions/0011)
  void LoseAwayLocked(std::uint32_t made_by);
  std::vector<Remembered> TakeRememberedLocked(std::uint32_t made_by);  // of a dead client: all
  std::vector<Remembered> TakeRememberedLocked(std::int64_t now, std::size_t most);
  void RememberAgainLocked(const Remembered& task, std::int64_t now);
  void ForgetLineageLocked(ObjectRoot* root);
  RefCore RunAgainLocked(const Remembered& task);
  std::vector<Pin> TakeMustComeLocked();
  bool BringHomeLocked();
  void RunSoonLocked(Hook hook);
  void IsAwayNoMoreLocked(ObjectRoot* root);
  void HasArrivedLocked(std::uint32_t slot, std::uint32_t generation);
  void EndLineageLocked(ObjectRoot* root, std::vector<Pin> stands_in);  // made again; empty: needed no more
  bool DropLineageLocked(bool away_too);                                // memory is short; whether there was any
  // Of our own heap; what is kept for later is let go first if it must be.
  store::OwnBlock AllocateBlockLocked(std::uint64_t bytes);
  std::uint64_t remembered() const { return remembered_count_; }

  void AddHook(ObjectRoot* root, Hook hook);  // now, if ready

  // Locks; on unlock calls the hooks that became due.
  class Lock {
   public:
    explicit Lock(Submitter& submitter) : submitter_(submitter), lock_(submitter.mutex_) {}
    ~Lock();

   private:
    Submitter& submitter_;
    std::unique_lock<std::mutex> lock_;
  };

  store::HomeSlot& HomeOf(const ObjectRoot& root) const { return slots_.SlotOf(root).home; }
  SlotTable& slots() { return slots_; }
  DispatchCore& core() { return core_; }
  std::uint64_t outstanding() const { return outstanding_; }
  int local_sleepers = 0;         // threads of this process asleep in a wait; guarded by the mutex
  std::uint32_t sleep_count = 0;  // makes every sleep's word a new value
  std::uint64_t pumps() const { return pumps_; }
  bool has_backlog() const { return backlog_size_ > 0; }
  std::uint64_t backlog_size() const { return backlog_size_; }
  // Of short tasks: so many may wait here before the submitting thread lets the workers catch up (progress.h).
  static constexpr std::uint64_t kBacklogEasy = 64;
  static constexpr std::uint32_t kShortNanos = 20'000;
  bool ShouldEase() const { return should_ease_.load(std::memory_order_relaxed) && running_hooks == 0; }
  static inline thread_local int running_hooks = 0;  // of this thread; they must not sleep
  bool helper_idle = false;  // the helper thread sleeps long: ring it when something has to wait; guarded by the mutex
  void EasedLocked(std::uint64_t before);  // after a wait that began with so many in the backlog
  std::vector<OutPair*>& pairs() { return active_; }
  OutPair& PairAt(int index) const { return *pairs_[static_cast<std::size_t>(index)].load(std::memory_order_acquire); }
  void RingLocked();                                    // own bell: local threads asleep must look
  void Bell(std::uint32_t index) const;                 // rings for the client with this index; needs no lock
  std::function<void(IncomingRoot*)> on_incoming_free;  // set by the executor
  std::function<void(std::vector<std::function<void()>>)> run_patiently;  // hooks that may wait; set by the context
  std::function<void(std::uint32_t segment)> on_away_free;  // a block whose bytes are elsewhere; set by a relay
  std::function<bool(ForeignRoot*)> foreign_is_ready;       // set by the context, and:
  std::function<bool(const ObjectId&, std::uint32_t unwrap)>
      leads_to_value;  // also true if it leads to nothing any more

 private:
  ObjectRoot* AllocateLocked();
  void StoreArgumentsLocked(ObjectRoot* root, store::TaskRecord& record, detail::Encoder& arguments);
  DispatchCore::Choice ChooseLocked(const ObjectRoot& root, std::uint32_t cost) const;
  bool TryPushLocked(ObjectRoot* root, std::uint32_t function);
  // Where the bytes of inputs lie, and what bringing them elsewhere takes (locality.cc).
  using Moves = std::array<std::int64_t, limits::kPairsMax>;
  bool MovesLocked(const ObjectRoot& root, Moves* moves) const;  // false: nothing large among the inputs
  std::uint64_t BytesLocked(const ObjectRoot& input) const;
  void NoteInputsThereLocked(OutPair& pair, const ObjectRoot& root);
  void NoteResultThereLocked(OutPair& pair, const ObjectRoot& result);
  void NoteThereLocked(OutPair& pair, std::uint64_t key);
  template <class F>
  void ForEachLargeInputLocked(const ObjectRoot& root, F f) const;
  std::uint64_t KeyLocked(const ObjectRoot& object) const;  // slot and generation
  // The relay where its blocks lie, if not here: 0.
  static std::uint32_t AwayAt(const ObjectRoot& object) {
    return object.extra && object.extra->away ? object.extra->made_by : 0;
  }
  void NoteLateLocked(const ObjectRoot& root, std::int64_t late);
  void SayWhereInputsAreLocked(const ObjectRoot& root);
  void PushLocked(int pair, int lane, ObjectRoot* root, std::int64_t start, std::uint32_t cost,
                  bool inputs_ready = false);
  bool TakesReadyLocked(const OutPair& pair, int index);
  void ForgetWhereInputsWereLocked(const ObjectRoot& root);
  static bool IsTakenLocked(const OutPair& pair);
  DispatchCore::Own OwnLocked() const;
  bool IsWantStaleLocked(std::int64_t now);
  void FlushBellLocked(OutPair& pair);
  bool IsBehindLocked(const OutPair& pair) const;
  void PushBacklogLocked();
  bool PushBacklogLocked(std::uint32_t shape);  // whether something was pushed
  void WantLocked();
  void WantLocked(std::uint32_t shape);
  static std::uint32_t ShapeOf(const ObjectRoot& root) { return root.extra ? root.extra->shape : 0; }
  // Whether this process may run such a task itself: it needs nothing, or what this one holds.
  bool MayRunHereLocked(std::uint32_t shape) const {
    return shape == 0 || (!own_needs.empty() && shapes_[shape].needs == own_needs);
  }
  std::uint32_t ShapeForLocked(std::string_view needs);  // LimitError: too many
  // A task begins to wait in a queue, or does so no more.
  void WaitsLocked(const ObjectRoot& root) {
    ++backlog_size_;
    if (const std::uint32_t shape = ShapeOf(root)) ++shapes_[shape].waiting;
  }
  void WaitsNoMoreLocked(const ObjectRoot& root) {
    SHEAF_CHECK(backlog_size_ > 0);
    --backlog_size_;
    if (const std::uint32_t shape = ShapeOf(root)) --shapes_[shape].waiting;
  }
  std::uint64_t WaitingLocked(std::uint32_t shape) const;
  std::uint64_t UnfinishedLocked(std::uint32_t shape) const;
  bool MustWaitForRoomLocked(const ObjectRoot& root) const;
  std::uint32_t UsefulElsewhereLocked(std::uint32_t shape) const;
  std::uint32_t KeptElsewhereLocked(std::uint32_t shape, std::uint64_t unfinished);
  void RecallLocked(int pair);
  void SettleRecallLocked(int pair);
  void RequeueLocked(ObjectRoot* root);
  void TakeBackLocked(int pair, std::uint32_t from, std::uint32_t end);
  void ConsumeLocked(int pair);
  bool ConsumeLaneLocked(int pair, int lane);
  void CompleteLocked(OutPair& pair, ObjectRoot* root, const store::Completion& done);
  void ReadyLocked(ObjectRoot* root);
  void ReleaseRecordLocked(ObjectRoot* root);
  void FlushReleasesLocked(OutPair& pair);
  void ReadKeptLocked(OutPair& pair, std::uint32_t until);
  void EndBorrowLocked(ObjectRoot* root);
  void RememberLocked(ObjectRoot* root, std::uint32_t made_by, bool speaks, bool away);
  std::uint64_t HeldBytesLocked(const ObjectRoot& root) const;
  bool TakeLocked(const Remembered& task, std::vector<Remembered>* taken);
  void EndKeptLocked(std::int64_t now);
  void RetryLocked(OutPair& pair, ObjectRoot* root, bool begun, int status);
  QueuedTask Place(const ObjectRoot& root) const {
    return {root.slot, HomeOf(root).generation.load(std::memory_order_relaxed)};
  }
  ObjectRoot* Waiting(const QueuedTask& place) const;  // nullptr: no longer in a queue
  static bool IsLost(const ObjectRoot& root);
  bool InputsReadyLocked(const ObjectRoot& root);
  bool InputsPushedLocked(const ObjectRoot& root) const;
  void PushRequeueLocked();
  Extra& ExtraOf(ObjectRoot* root);
  void GiveExtraLocked(ObjectRoot* root);  // it has none from now on
  void UpdateWantWord(OutPair& pair, int lane);

  friend class Lock;
  mutable std::mutex mutex_;
  const Parts parts_;
  SlotTable slots_;
  DispatchCore core_;
  // By own region. Never freed: a thread may still look at a pair that has just closed.
  std::array<std::atomic<OutPair*>, limits::kPairsMax> pairs_{};
  std::vector<OutPair*> active_;
  std::uint32_t relays_ = 0;  // among them
  // Of large objects, by slot and generation: how long tasks have waited to stay where their bytes are (locality.cc).
  std::unordered_map<std::uint64_t, std::int64_t> waited_;
  std::vector<ShapeQueue> shapes_;   // never moved: there is room for kShapesMax from the start
  std::vector<QueuedTask> requeue_;  // taken back or to be retried: pushed once their inputs are there
  std::int64_t held_since_ = 0;      // since when some of them wait for a free worker; 0: none does
  std::uint32_t held_shapes_ = 0;    // of those, one bit each
  std::map<std::uint32_t, std::vector<Pin>> lent_by_dead_;  // until kForgotten: others may still read it
  std::set<std::uint32_t> alone_with_;                      // dead, and nobody else looks at their memory
  std::int64_t looked_at_kept_ = 0;
  std::deque<Remembered> remembered_;  // some of them gone meanwhile
  std::vector<QueuedTask> must_come_;
  std::uint64_t away_count_ = 0;  // of our values: blocks of them lie on other machines
  std::int64_t next_look_ = 0;    // no earlier than this is one of them due
  std::uint64_t remembered_ever_ = 0;
  std::uint64_t remembered_count_ = 0;  // without those
  std::uint64_t backlog_size_ = 0;      // tasks that are kBacklog
  std::uint64_t outstanding_ = 0;       // submitted, not ready
  std::uint64_t promised_ = 0;          // of outstanding_: promises
  std::uint64_t pumps_ = 0;
  std::int64_t want_looked_at_ = 0;  // how long what waits will wait changes with time alone
  std::vector<Root*> to_free_;
  std::vector<std::function<void()>> due_hooks_, patient_hooks_;
  std::vector<Extra*> spare_extras_;  // with the room that their vectors have grown
  bool freeing_ = false;
  std::atomic<bool> should_ease_{false};
  std::uint64_t ease_above_ = kBacklogEasy;  // twice the backlog after a wait that did not make it shorter
  bool pool_lost_ = false;
};

}  // namespace sheaf::runtime
