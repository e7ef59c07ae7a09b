// take back: what a worker has not begun becomes ours again, or comes back from a dead one, and goes to somebody else.
#include <algorithm>
#include <atomic>
#include <cstring>

#include "base/clock.h"
#include "runtime/submitter.h"

namespace sheaf::runtime {

using store::HomeKind;
using store::HomeWord;

void Submitter::RecallLocked(int index) {
  OutPair& pair = PairAt(index);
  if (!pair.matched || !Ring::OpenRecall(*pair.out, *pair.in, pair.lanes[0].tail, &pair.recall)) return;
  core_.OnRecalled(index);
  TakeBackLocked(index, pair.recall.taken, pair.recall.end);
  FlushBellLocked(pair);
}

// Positions [from, end) are ours again. What they name stays untouched until the worker has acknowledged.
void Submitter::TakeBackLocked(int index, std::uint32_t from, std::uint32_t end) {
  OutPair& pair = PairAt(index);
  Lane& lane = pair.lanes[0];
  std::uint32_t count = 0;
  std::int64_t cost = 0;
  for (std::uint32_t position = from; position != end; ++position) {
    std::uint32_t& slot = lane.slots[position % limits::kLaneDepth];
    if (slot == kTakenBack) continue;
    ObjectRoot* root = slots_.RootOf(slot);
    slot = kTakenBack;
    ++count;
    cost += lane.costs[position % limits::kLaneDepth];
    pair.recall_holds.push_back(Pin::Share(root));
    if (root->extra)
      for (const Pin& hold : root->extra->holds) pair.recall_holds.push_back(hold);
    RequeueLocked(root);
  }
  core_.OnTakenBack(index, count, cost);
}

void Submitter::RequeueLocked(ObjectRoot* root) {
  root->phase = Phase::kBacklog;
  HomeOf(*root).word.store(HomeWord{HomeKind::kPending}.Pack(), std::memory_order_release);
  requeue_.push_back(Place(*root));
  WaitsLocked(*root);
}

void Submitter::SettleRecallLocked(int index) {
  OutPair& pair = PairAt(index);
  std::uint32_t before = 0;
  if (!Ring::SettleRecall(*pair.out, *pair.in, &pair.recall, &before)) return;
  TakeBackLocked(index, pair.recall.taken, before);  // a claim that backed off
  core_.At(index).paused = false;
  std::vector<Pin> holds;
  holds.swap(pair.recall_holds);
  for (Pin& hold : holds) DropLocked(std::move(hold));
}

// Whether the worker runs a task of somebody else's: none of ours has begun and not ended.
bool Submitter::IsTakenLocked(const OutPair& pair) {
  if (!pair.matched || pair.control->executing.load(std::memory_order_relaxed) == 0) return false;
  for (int lane = 0; lane < 2; ++lane) {
    const std::uint32_t claimed = pair.in->claimed[lane].load(std::memory_order_acquire);
    if (pair.lanes[lane].head != pair.lanes[lane].tail && Ring::After(claimed, pair.lanes[lane].head)) return false;
  }
  return true;
}

DispatchCore::Own Submitter::OwnLocked() const {
  if (!parts_.is_worker) return DispatchCore::Own::kBusy;
  if (parts_.control->blocked.load(std::memory_order_relaxed) != 0) return DispatchCore::Own::kWaits;
  const bool asleep = parts_.control->asleep.load(std::memory_order_relaxed) != 0;
  return asleep ? DispatchCore::Own::kIdle : DispatchCore::Own::kBusy;
}

// Whether a task whose inputs are there may go to the pair's ordinary lane, where it can be taken back again: nothing before it waits
// for inputs, and so perhaps for this very task.
bool Submitter::TakesReadyLocked(const OutPair& pair, int index) {
  const Lane& lane = pair.lanes[0];
  const DispatchCore::Pair& at = core_.At(index);
  return pair.places == 0 && !at.paused && !at.full && !Ring::After(pair.may_wait, lane.head);
}

// The places in lanes that its record names are those of its first push. They are forgotten: another lane may have such a place.
void Submitter::ForgetWhereInputsWereLocked(const ObjectRoot& root) {
  store::TaskRecord& record = slots_.SlotOf(root).task;
  if (record.flags & store::kTaskArgumentsInBlock) return;
  std::byte* at = record.inline_bytes + offsetof(store::DependencyRecord, bound);
  for (std::uint32_t i = 0; i < record.dependencies; ++i, at += sizeof(store::DependencyRecord)) {
    // A worker that has not acknowledged the recall may be reading it; what it makes of either value it throws away.
    std::atomic_ref<std::uint64_t>(*reinterpret_cast<std::uint64_t*>(at)).store(0, std::memory_order_relaxed);
  }
}

// Urgent lanes take only what can run at once, so that nothing in them ever waits for what is behind it.
//
// What takes long, or was never measured, waits for somebody who is free, as it could not be taken back from who is not. Not for ever: a
// task that runs may wait for this one in ways that nobody sees.
void Submitter::PushRequeueLocked() {
  constexpr std::int64_t kHoldNanos = 5'000'000'000;
  std::vector<QueuedTask> later;
  held_shapes_ = 0;
  for (const QueuedTask& place : requeue_) {
    ObjectRoot* root = Waiting(place);
    if (!root) continue;
    int best = DispatchCore::kNone;
    if (!MustWaitForRoomLocked(*root) && InputsReadyLocked(*root)) {
      Moves moves;
      const bool moves_count = relays_ > 0 && root->extra && MovesLocked(*root, &moves);
      const bool is_long = core_.CostOf(slots_.SlotOf(*root).task.function) >= DispatchCore::kUnknownNanos;
      const bool wait_for_free = is_long && !moves_count &&
                                 (core_.AnyRuns(ShapeOf(*root)) || core_.AnySettles(ShapeOf(*root))) &&
                                 (held_since_ == 0 || core_.clock() - held_since_ < kHoldNanos);
      const auto has_place = [&](int pair) {
        const Lane& urgent = PairAt(pair).lanes[1];
        const std::uint32_t queued = urgent.tail - urgent.head;
        if (wait_for_free && (!core_.IsFree(pair) || (PairAt(pair).places == 0 && queued > 0))) return false;
        if (ShapeOf(*root) != PairAt(pair).shape) return false;
        if (root->extra && root->extra->cpus_milli > PairAt(pair).widest) return false;
        return queued < limits::kUrgentDepth || TakesReadyLocked(PairAt(pair), pair);
      };
      if (moves_count) {
        std::int64_t late = 0;
        best = core_.ChooseUrgent(has_place, moves, &late);
        if (best != DispatchCore::kNone) NoteLateLocked(*root, late);
      } else {
        best = core_.ChooseUrgent(has_place);
      }
      if (wait_for_free && best == DispatchCore::kNone) held_shapes_ |= 1u << ShapeOf(*root);
    }
    if (best == DispatchCore::kNone) {
      later.push_back(place);
      continue;
    }
    WaitsNoMoreLocked(*root);
    const std::uint32_t cost = core_.CostOf(slots_.SlotOf(*root).task.function);
    const bool ordinary = TakesReadyLocked(PairAt(best), best);
    if (ordinary) ForgetWhereInputsWereLocked(*root);
    PushLocked(best, ordinary ? 0 : 1, root, core_.clock(), cost, true);
  }
  requeue_.swap(later);
  if (held_shapes_ == 0) {
    held_since_ = 0;
  } else if (held_since_ == 0) {
    held_since_ = core_.clock();
  }
}

}  // namespace sheaf::runtime
