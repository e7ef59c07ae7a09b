// dispatch: entries on the rings of leased workers, and the wake-up of a sleeper.
#include <algorithm>
#include <cstring>

#include "base/barrier.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/futex.h"
#include "runtime/submitter.h"

namespace sheaf::runtime {

using store::HomeKind;
using store::HomeWord;

void Submitter::OpenPairLocked(const wire::OpenPair& message, store::Peer* peer) {
  if (message.own_region >= parts_.control->out_regions || message.own_region >= limits::kPairsMax || !peer ||
      message.peer_region >= limits::kPairsMax || message.shape >= shapes_.size())
    return;
  auto& entry = pairs_[message.own_region];
  if (OutPair* old = entry.load(); old && old->in_use) return;
  const auto* control = peer->control();
  const std::uint64_t offset =
      store::InOffset(message.peer_out_regions) + message.peer_region * sizeof(store::InRegion);
  if (!control || offset + sizeof(store::InRegion) > peer->Bytes(0)) return;
  auto* opened = new OutPair;
  OutPair& pair = *opened;
  pair.peer = message.peer;
  pair.mapped = peer;
  pair.peer_region = message.peer_region;
  pair.nonce = message.nonce;
  pair.control = control;
  auto* own = reinterpret_cast<std::byte*>(parts_.control);
  pair.out = reinterpret_cast<store::OutRegion*>(own + store::OutOffset()) + message.own_region;
  pair.in = reinterpret_cast<const store::InRegion*>(reinterpret_cast<const std::byte*>(control) + offset);
  pair.in_use = true;
  pair.places = message.places;
  pair.widest = message.cpus_milli;
  pair.shape = message.shape;
  for (int lane = 0; lane < 2; ++lane) {
    pair.lanes[lane].slots.assign(store::LaneDepth(lane), kTakenBack);
    pair.lanes[lane].costs.assign(store::LaneDepth(lane), 0);
  }
  store::OutRegion& out = *pair.out;
  for (auto& entry_word : out.entries) entry_word.store(0, std::memory_order_relaxed);
  for (auto& entry_word : out.urgent) entry_word.store(0, std::memory_order_relaxed);
  for (auto& want : out.want) want.store(0, std::memory_order_relaxed);
  out.recall_epoch.store(0, std::memory_order_relaxed);
  out.released.store(0, std::memory_order_relaxed);
  out.kept_read.store(0, std::memory_order_relaxed);
  out.worker.store(message.peer, std::memory_order_relaxed);
  out.nonce.store(message.nonce, std::memory_order_release);
  peer->uses.fetch_add(1, std::memory_order_relaxed);
  core_.Open(static_cast<int>(message.own_region), message.places, message.cpus_milli, message.shape);
  entry.store(opened, std::memory_order_release);
  active_.push_back(&pair);
  relays_ += pair.places > 0 ? 1 : 0;
  PumpLocked();
}

// Where and when the inputs were made or will be. The first few decide; a task with more of them has them everywhere.
DispatchCore::Choice Submitter::ChooseLocked(const ObjectRoot& root, std::uint32_t cost) const {
  constexpr std::size_t kLooks = 8;
  std::array<DispatchCore::Input, kLooks> inputs;
  std::size_t count = 0;
  if (root.extra && active_.size() > 1) {
    const std::int64_t clock = core_.clock();
    for (const Pin& hold : root.extra->holds) {
      if (hold.get()->kind != kObjectRoot) continue;
      const auto& input = *static_cast<const ObjectRoot*>(hold.get());
      const std::uint8_t pair = input.pair.load(std::memory_order_relaxed);
      if (pair == kNoPair) continue;
      DispatchCore::Input& named = inputs[count];
      named.pair = pair;
      if (input.phase == Phase::kPushed)
        named.ready =
            clock + 64 * std::int64_t{static_cast<std::int32_t>(input.due - static_cast<std::uint32_t>(clock / 64))};
      if (++count == kLooks) break;
    }
  }
  const std::span<const DispatchCore::Input> named{inputs.data(), count};
  const std::uint32_t milli = root.extra ? root.extra->cpus_milli : 0;
  if (relays_ > 0 && root.extra && active_.size() > 1) {
    Moves moves;
    if (MovesLocked(root, &moves)) return core_.Choose(named, cost, milli, ShapeOf(root), moves);
  }
  return core_.Choose(named, cost, milli, ShapeOf(root));
}

// Before the first push only: from then on a worker may be reading the record.
void Submitter::SayWhereInputsAreLocked(const ObjectRoot& root) {
  store::TaskRecord& record = slots_.SlotOf(root).task;
  if (record.flags & store::kTaskArgumentsInBlock) return;
  std::byte* at = record.inline_bytes + offsetof(store::DependencyRecord, bound);
  for (std::uint32_t i = 0; i < record.dependencies; ++i, at += sizeof(store::DependencyRecord)) {
    const Root* hold = root.extra->holds[i].get();
    if (hold->kind != kObjectRoot) continue;
    const auto& input = *static_cast<const ObjectRoot*>(hold);
    if (input.phase != Phase::kPushed) continue;
    const std::uint64_t bound = HomeOf(input).word.load(std::memory_order_relaxed);
    std::memcpy(at, &bound, sizeof bound);
  }
}

// Until the pool has stopped the workers that the CPUs do not suffice for. Those that wait in Get need none.
bool Submitter::MustWaitForRoomLocked(const ObjectRoot& root) const {
  const std::uint64_t milli = root.extra ? root.extra->cpus_milli : 0;
  if (milli <= 1000) return false;
  std::uint64_t running = 0;
  for (const OutPair* pair : active_) {
    if (pair->shape != ShapeOf(root)) continue;
    if (pair->places > 0 && pair->widest >= milli) return false;  // the other pool decides
    running += pair->control->blocked.load(std::memory_order_relaxed) == 0;
  }
  return running > 1 && running * milli > std::uint64_t{parts_.slots} * 1000;
}

std::uint32_t Submitter::BlockedWorkersLocked() const {
  std::uint32_t blocked = 0;
  for (const OutPair* pair : active_) blocked += pair->control->blocked.load(std::memory_order_relaxed) != 0;
  return blocked;
}

// Whether the head of the ordinary lane takes something that no task of ours makes. Only that may wait for what comes later: our own
// tasks are in order.
bool Submitter::AwaitsOthersLocked(const OutPair& pair) const {
  const Lane& lane = pair.lanes[0];
  for (std::uint32_t at = lane.head; at != lane.tail; ++at) {
    const std::uint32_t slot = lane.slots[at % limits::kLaneDepth];
    if (slot == kTakenBack) continue;
    const ObjectRoot* root = slots_.RootOf(slot);
    return root->extra && std::ranges::any_of(root->extra->holds, [](const Pin& hold) {
             return hold.get()->kind == kForeignRoot ||
                    (hold.get()->kind == kObjectRoot &&
                     static_cast<const ObjectRoot*>(hold.get())->phase == Phase::kInline);
           });
  }
  return false;
}

bool Submitter::WorkersAreAsleepLocked() const {
  return std::ranges::all_of(
      active_, [](const OutPair* pair) { return pair->control->asleep.load(std::memory_order_acquire) != 0; });
}

bool Submitter::TryPushLocked(ObjectRoot* root, std::uint32_t function) {
  if (MustWaitForRoomLocked(*root)) return false;
  const std::uint32_t cost = core_.CostOf(function);
  const DispatchCore::Choice choice = ChooseLocked(*root, cost);
  if (choice.pair == DispatchCore::kNone) return false;
  if (root->extra) SayWhereInputsAreLocked(*root);
  PushLocked(choice.pair, 0, root, choice.start, cost);
  return true;
}

void Submitter::PushLocked(int index, int lane_index, ObjectRoot* root, std::int64_t start, std::uint32_t cost,
                           bool inputs_ready) {
  OutPair& pair = PairAt(index);
  Lane& lane = pair.lanes[lane_index];
  const std::uint32_t depth = store::LaneDepth(lane_index);
  SHEAF_CHECK(lane.tail - lane.head < depth);
  const std::uint32_t position = lane.tail++;
  lane.slots[position % depth] = root->slot;
  lane.costs[position % depth] = cost;
  if (lane_index == 0 && root->extra && !inputs_ready) pair.may_wait = lane.tail;
  if (pair.places > 0) NoteInputsThereLocked(pair, *root);
  root->phase = Phase::kPushed;
  root->pair.store(static_cast<std::uint8_t>(index), std::memory_order_relaxed);
  HomeWord home{HomeKind::kBound};
  home.lane = static_cast<std::uint32_t>(lane_index);
  home.worker = store::IndexOf(pair.peer);
  home.region = pair.peer_region;
  home.position = position;
  HomeOf(*root).word.store(home.Pack(), std::memory_order_release);
  Ring::Push(store::Entries(*pair.out, lane_index), depth, position, root->slot);
  core_.OnPushed(index, start, cost, core_.At(index).in_flight == 0 ? NowNanos() : 0);
  root->due = static_cast<std::uint32_t>((std::max(start, core_.clock()) + cost) / 64);
  if (lane_index == 0) core_.At(index).full = lane.tail - lane.head >= limits::kLaneDepth;
}

void Submitter::FlushBellLocked(OutPair& pair) {
  Lane& lane = pair.lanes[0];
  const bool only_ordinary = pair.lanes[1].tail == pair.told_urgent && !pair.recall.open;
  const bool nothing_new = only_ordinary && lane.tail == pair.told && pair.release_written == pair.told_released;
  if (nothing_new && pair.matched) return;
  std::uint32_t rung = pair.rung_asleep;
  if (Ring::SleeperMissed(pair.control->asleep, &rung) && !(only_ordinary && IsBehindLocked(pair))) {
    pair.rung_asleep = rung;
    Bell(store::IndexOf(pair.peer));
  }
  pair.told = lane.tail;
  pair.told_urgent = pair.lanes[1].tail;
  pair.told_released = pair.release_written;
}

// Whether what was pushed last lies behind an entry that the worker knows and has not begun. If it sleeps all the same, that
// entry's inputs are not there, and what lies behind does not help. It does know it: when it was pushed the worker was
// rung, or was awake and has looked since, or (by induction) had one before that it could not begin either.
bool Submitter::IsBehindLocked(const OutPair& pair) const {
  if (!pair.matched) return false;
  const Lane& lane = pair.lanes[0];
  const std::uint32_t next = pair.in->claimed[0].load(std::memory_order_acquire);  // after the look at `asleep`
  // Beyond a lap the place in `slots` is that of a later position.
  if (!Ring::After(pair.told, next) || lane.tail - next > limits::kLaneDepth) return false;
  return lane.slots[next % limits::kLaneDepth] != kTakenBack;
}

void Submitter::Bell(std::uint32_t index) const {
  std::atomic<std::uint32_t>& bell = parts_.control->bells[index % store::kBells];
  bell.fetch_add(1, std::memory_order_release);
  FutexWakeAll(bell);
}

void Submitter::RingLocked() { Bell(store::IndexOf(parts_.client)); }

void Submitter::PushBacklogLocked() {
  // What one queue has pushed may be what another waited for.
  for (bool pushed = true; pushed;) {
    pushed = false;
    for (std::uint32_t shape = 0; shape < shapes_.size(); ++shape)
      // Younger tasks do not keep busy whom an older one waits for.
      if (!shapes_[shape].backlog.empty() && !(held_shapes_ >> shape & 1) && PushBacklogLocked(shape))
        pushed = shapes_.size() > 1;
  }
}

// In submission order. If the front has to wait for a worker while another is idle, tasks further back may pass it. Who passes, and who
// could have an input in another queue, must have its inputs pushed: whatever a lane holds has its inputs in a lane before it, or done.
bool Submitter::PushBacklogLocked(std::uint32_t shape) {
  constexpr std::size_t kLooks = 64, kAhead = 3;
  std::deque<QueuedTask>& backlog = shapes_[shape].backlog;
  bool pushed = false;
  std::size_t at = 0;
  while (backlog_size_ > 0 && at < backlog.size()) {
    if (at + kAhead < backlog.size()) slots_.PrefetchHome(backlog[at + kAhead].slot);
    ObjectRoot* root = Waiting(backlog[at]);
    if (root && (at > 0 || shapes_.size() > 1 || !requeue_.empty()) && !InputsPushedLocked(*root)) {
      if (++at > kLooks) break;
      continue;
    }
    if (root && !TryPushLocked(root, slots_.SlotOf(*root).task.function)) {
      if (++at > kLooks || !core_.AnyIdle(shape)) break;
      continue;
    }
    if (root) {
      WaitsNoMoreLocked(*root);
      pushed = true;
    }
    if (at == 0) {
      backlog.pop_front();
    } else {
      backlog.erase(backlog.begin() + static_cast<std::ptrdiff_t>(at));
    }
  }
  return pushed;
}

bool Submitter::InputsPushedLocked(const ObjectRoot& root) const {
  if (!root.extra) return true;
  for (const Pin& hold : root.extra->holds) {
    if (hold.get()->kind != kObjectRoot) continue;
    const Phase phase = static_cast<const ObjectRoot*>(hold.get())->phase;
    if (phase != Phase::kPushed && phase != Phase::kReady) return false;
  }
  return true;
}

ObjectRoot* Submitter::Waiting(const QueuedTask& place) const {
  ObjectRoot* root = slots_.RootOf(place.slot);
  const bool same = HomeOf(*root).generation.load(std::memory_order_relaxed) == place.generation;
  return same && root->phase == Phase::kBacklog ? root : nullptr;
}

// Blocks of it, or of what stands in for them, lay with somebody who is gone, and are being made again.
bool Submitter::IsLost(const ObjectRoot& root) {
  if (!root.extra) return false;
  return root.extra->lost || std::ranges::any_of(root.extra->stands_in, [](const Pin& pin) {
           return pin.get()->kind == kObjectRoot && IsLost(*static_cast<const ObjectRoot*>(pin.get()));
         });
}

// Also what stands behind refs that the worker will follow: an urgent lane is never taken back, so what waits in it for
// something that lies behind it waits for ever.
bool Submitter::InputsReadyLocked(const ObjectRoot& root) {
  if (!root.extra) return true;
  for (const Pin& hold : root.extra->holds) {
    if (hold.get()->kind == kObjectRoot) {
      const auto& input = *static_cast<const ObjectRoot*>(hold.get());
      if (input.phase != Phase::kReady || IsLost(input)) return false;
    }
    if (hold.get()->kind == kForeignRoot && foreign_is_ready &&
        !foreign_is_ready(static_cast<ForeignRoot*>(hold.get())))
      return false;
  }
  const store::TaskRecord& record = slots_.SlotOf(root).task;
  const std::byte* at = record.inline_bytes;
  if (record.dependencies > 0 && (record.flags & store::kTaskArgumentsInBlock)) {
    store::BlockRecord named{};
    std::memcpy(&named, at, sizeof named);
    at = parts_.peers->Resolve(named.loc, named.size);
  }
  for (std::uint32_t i = 0; at && i < record.dependencies; ++i, at += sizeof(store::DependencyRecord)) {
    store::DependencyRecord named{};
    std::memcpy(&named, at, sizeof named);
    if (named.unwrap > 0 && leads_to_value &&
        !leads_to_value({named.client, named.slot, named.generation}, named.unwrap))
      return false;
  }
  return true;
}

ObjectRoot* Submitter::RunnableLocked() {
  constexpr int kLooks = 16;  // the queues are in submission order: what is ready is near their front
  int looks = 0;
  for (const QueuedTask& place : requeue_) {
    ObjectRoot* root = Waiting(place);
    if (root && MayRunHereLocked(ShapeOf(*root)) && InputsReadyLocked(*root)) return root;
    if (++looks == kLooks) break;
  }
  for (std::uint32_t shape = 0; shape < shapes_.size(); ++shape) {
    if (!MayRunHereLocked(shape)) continue;
    std::deque<QueuedTask>& backlog = shapes_[shape].backlog;
    while (!backlog.empty() && !Waiting(backlog.front())) backlog.pop_front();
    looks = 0;
    for (const QueuedTask& place : backlog) {
      ObjectRoot* root = Waiting(place);
      if (root && InputsReadyLocked(*root)) return root;
      if (++looks == kLooks) break;
    }
  }
  return nullptr;
}

void Submitter::PumpLocked() {
  ++pumps_;
  if (pool_lost_) return;
  bool blocked_changed = false;
  for (int i = 0; i < core_.size(); ++i) {
    if (!core_.At(i).open) continue;
    ConsumeLocked(i);
    // After its results, before any push: who gives something back is blocked, and shall not get it again.
    const bool blocked = PairAt(i).control->blocked.load(std::memory_order_acquire) != 0;
    blocked_changed |= blocked != core_.At(i).blocked;
    core_.At(i).blocked = blocked;
    core_.At(i).starved = PairAt(i).control->starved.load(std::memory_order_relaxed) != 0;
  }
  if (outstanding_ == 0) return;
  const std::int64_t now = active_.empty() ? 0 : NowNanos();
  core_.Tick(now);
  for (int i = 0; i < core_.size(); ++i) core_.At(i).taken = core_.MayBeTaken(i, now) && IsTakenLocked(PairAt(i));
  held_shapes_ = 0;
  requeue_.empty() ? void(held_since_ = 0) : PushRequeueLocked();
  if (backlog_size_ > requeue_.size()) PushBacklogLocked();
  const DispatchCore::Own own = OwnLocked();
  const std::size_t requeued = requeue_.size();
  for (int i = 0; i < core_.size(); ++i) {
    if (!core_.At(i).open) continue;
    OutPair& pair = PairAt(i);
    const bool is_mine = own != DispatchCore::Own::kIdle || MayRunHereLocked(pair.shape);
    if (core_.ShouldRecall(i, now, is_mine ? own : DispatchCore::Own::kBusy) ||
        (core_.IsInTheWay(i, now, backlog_size_ > 0) && AwaitsOthersLocked(pair)))
      RecallLocked(i);
    FlushBellLocked(pair);
  }
  const bool taken_back = requeue_.size() > requeued;
  if (!requeue_.empty()) PushRequeueLocked();
  for (OutPair* pair : active_) FlushBellLocked(*pair);
  if (taken_back && own == DispatchCore::Own::kIdle && !requeue_.empty()) RingLocked();  // our executor can run it
  if (backlog_size_ > 0 || active_.size() < parts_.slots || blocked_changed ||
      shapes_[0].Widest() != shapes_[0].wanted_milli || shapes_.size() > 1 || IsWantStaleLocked(now))
    WantLocked();
}

}  // namespace sheaf::runtime
