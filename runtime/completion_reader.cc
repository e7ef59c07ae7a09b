// complete: results move from the worker's completion slots to our home slots; what tasks and objects held is let go.
#include <algorithm>
#include <cstring>

#include "base/barrier.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/prefetch.h"
#include "runtime/submitter.h"

namespace sheaf::runtime {

using store::HomeKind;
using store::HomeWord;

bool Submitter::LooksFinished(const ObjectRoot& root) const {
  const HomeWord home = HomeWord::Unpack(HomeOf(root).word.load(std::memory_order_acquire));
  if (home.kind == HomeKind::kValue) return true;
  const std::uint8_t index = root.pair.load(std::memory_order_relaxed);
  if (home.kind != HomeKind::kBound || index == kNoPair) return false;
  const OutPair* pair = &PairAt(index);
  return Ring::IsPublished(store::CompletionAt(*pair->in, static_cast<int>(home.lane), home.position), home.position);
}

void Submitter::ConsumeLocked(int index) {
  OutPair& pair = PairAt(index);
  if (!pair.matched) {
    if (pair.in->nonce.load(std::memory_order_acquire) != pair.nonce) return;
    pair.matched = true;
  }
  // Read before the completions: whatever ended until then belongs to a task whose completion is seen below.
  const std::uint32_t kept = pair.in->kept_released.load(std::memory_order_acquire);
  std::uint32_t before = core_.At(index).in_flight;
  if (before > 0 || core_.At(index).paused || core_.At(index).full) {
    ConsumeLaneLocked(index, 1);
    ConsumeLaneLocked(index, 0);
  }
  if (pair.recall.open) SettleRecallLocked(index);
  ReadKeptLocked(pair, kept);
  if (!pair.release_overflow.empty()) FlushReleasesLocked(pair);
}

bool Submitter::ConsumeLaneLocked(int index, int lane_index) {
  OutPair& pair = PairAt(index);
  Lane& lane = pair.lanes[lane_index];
  const std::uint32_t depth = store::LaneDepth(lane_index);
  const store::Completion* done = store::Completions(*pair.in, lane_index);
  constexpr std::uint32_t kAhead = 3;
  std::uint32_t count = 0;
  std::int64_t cost = 0;
  // Lane 0 of a worker completes in order; a relay's need not, as the other pool has many workers. Nor need urgent entries: a
  // worker that waits inside one runs the next, and the one that waits may be waiting for us.
  for (std::uint32_t position = lane.head; position != lane.tail; ++position) {
    std::uint32_t& slot = lane.slots[position % depth];
    if (slot != kTakenBack) {
      const store::Completion& completion = done[position % depth];
      PrefetchForReading(&done[(position + kAhead) % depth]);
      if (lane.tail - position > kAhead) {
        const std::uint32_t later = lane.slots[(position + kAhead) % depth];
        if (later != kTakenBack) slots_.PrefetchHome(later);
      }
      if (!Ring::IsPublished(completion, position)) {
        if (lane_index == 0 && pair.places == 0) break;
        continue;
      }
      ObjectRoot* root = slots_.RootOf(slot);
      slot = kTakenBack;
      ++count;
      cost += lane.costs[position % depth];
      if (lane_index == 1 && (completion.flags.load(std::memory_order_relaxed) & store::kFlagGivenBack)) {
        RequeueLocked(root);
      } else {
        CompleteLocked(pair, root, completion);
      }
    }
    if (position == lane.head) ++lane.head;
  }
  while (lane.head != lane.tail && lane.slots[lane.head % depth] == kTakenBack) ++lane.head;
  // Also when nothing was consumed: a recall may have taken back a whole lane, which its head has passed just now.
  if (lane_index == 0) core_.At(index).full = lane.tail - lane.head >= limits::kLaneDepth;
  if (count == 0) return false;
  shapes_[pair.shape].last_ready = NowNanos();
  core_.OnConsumed(index, count, cost, shapes_[pair.shape].last_ready);
  return true;
}

void Submitter::CompleteLocked(OutPair& pair, ObjectRoot* root, const store::Completion& done) {
  SHEAF_CHECK(root->phase == Phase::kPushed);
  store::HomeSlot& home = HomeOf(*root);
  std::uint64_t copy[limits::kPayloadInline / 8];
  const Ring::Result result = Ring::Copy(done, copy, limits::kPayloadInline / 8);
  const std::uint32_t flags = result.flags;
  home.size = result.size;
  std::memcpy(home.payload, copy, (result.size + 7) / 8 * 8);
  if (const std::uint32_t took = flags >> store::kTookShift)
    core_.Learn(slots_.SlotOf(*root).task.function, took * store::kTookNanos);
  root->result_record = result.record;
  if (root->result_record != 0) {
    root->producer = static_cast<std::uint16_t>(store::IndexOf(pair.peer));
    pair.mapped->uses.fetch_add(1, std::memory_order_relaxed);
  }
  const HomeWord value{HomeKind::kValue, flags & (store::kFlagError | store::kFlagBlockPayload | store::kFlagMarked)};
  home.word.store(value.Pack(), std::memory_order_release);
  if (pair.places > 0 && (flags & (store::kFlagMarked | store::kFlagBlockPayload))) NoteResultThereLocked(pair, *root);
  if ((flags & (store::kFlagSpeaks | store::kFlagAway)) && root->retries > 0)
    RememberLocked(root, pair.peer, (flags & store::kFlagSpeaks) != 0, (flags & store::kFlagAway) != 0);
  if (flags & store::kFlagKept) {
    // The worker still reads what the task named, and perhaps the record itself: everything stays, slot included.
    ExtraOf(root).kept_by = pair.peer;
    root->refs.fetch_add(1, std::memory_order_relaxed);
  } else if (root->extra && root->extra->made_by == 0) {
    for (Pin& hold : root->extra->holds) DropLocked(std::move(hold));
    root->extra->holds.clear();
  }
  ReadyLocked(root);
}

// The object has its value: tell who waits, and let go of the task's own count.
void Submitter::ReadyLocked(ObjectRoot* root) {
  root->phase = Phase::kReady;
  SHEAF_CHECK(outstanding_ > 0);
  --outstanding_;
  if (Extra* extra = root->extra) {
    ShapeQueue& queue = shapes_[extra->shape];
    if (std::exchange(extra->shape, 0) != 0) --queue.outstanding;
    if (const std::uint32_t milli = std::exchange(extra->cpus_milli, 0)) {
      const auto found = queue.wide.find(milli);
      if (--found->second == 0) queue.wide.erase(found);
    }
    for (Hook& hook : extra->hooks) RunSoonLocked(std::move(hook));
    extra->hooks.clear();
    if (extra->kept_by == 0 && extra->made_by == 0 && extra->holds.empty() && extra->private_error.empty())
      GiveExtraLocked(root);
  }
  if (local_sleepers > 0) RingLocked();
  DropLocked(Pin::Adopt(root));
}

void Submitter::ReadKeptLocked(OutPair& pair, std::uint32_t until) {
  std::uint32_t slot = 0;
  while (Ring::After(until, pair.kept_read) &&
         Ring::Take(pair.in->kept_ring, limits::kKeptDepth, pair.in->kept_released, pair.out->kept_read,
                    &pair.kept_read, &slot)) {
    ObjectRoot* root = slots_.RootOf(slot);
    if (root && root->phase == Phase::kReady && root->extra && root->extra->kept_by == pair.peer) EndBorrowLocked(root);
  }
}

void Submitter::EndBorrowLocked(ObjectRoot* root) {
  root->extra->kept_by = 0;
  std::vector<Pin> holds;
  if (root->extra->made_by == 0) holds.swap(root->extra->holds);
  for (Pin& hold : holds) DropLocked(std::move(hold));
  DropLocked(Pin::Adopt(root));
}

void Submitter::DropLocked(Pin pin) {
  Root* root = pin.release();
  if (root && root->refs.fetch_sub(1, std::memory_order_acq_rel) == 1) FreeLocked(root);
}

// Frees without recursion: what a freed root held is queued, however long the chain.
void Submitter::FreeLocked(Root* first) {
  to_free_.push_back(first);
  if (freeing_) return;
  freeing_ = true;
  while (!to_free_.empty()) {
    Root* root = to_free_.back();
    to_free_.pop_back();
    switch (root->kind) {
      case kObjectRoot: {
        auto* object = static_cast<ObjectRoot*>(root);
        if (object->result_record != 0) ReleaseRecordLocked(object);
        if (object->extra) {
          if (object->extra->made_by != 0) --remembered_count_;
          IsAwayNoMoreLocked(object);
          for (Pin& hold : object->extra->holds) DropLocked(std::move(hold));
          for (Pin& pin : object->extra->stands_in) DropLocked(std::move(pin));
          GiveExtraLocked(object);
        }
        slots_.Free(object);
        break;
      }
      case kForeignRoot: {
        auto* foreign = static_cast<ForeignRoot*>(root);
        if (store::Peer* peer = parts_.peers->Find(foreign->id.client)) peer->uses.fetch_sub(1);
        DropLocked(std::move(foreign->through));
        delete foreign;
        break;
      }
      case kBlockRoot: {
        auto* block = static_cast<BlockRoot*>(root);
        block->block.segment < limits::kAwayFirst ? parts_.heap->Free(block->block)
                                                  : on_away_free(block->block.segment);
        delete block;
        break;
      }
      case kIncomingRoot: {
        auto* incoming = static_cast<IncomingRoot*>(root);
        for (Pin& hold : incoming->holds) DropLocked(std::move(hold));
        incoming->holds.clear();
        if (on_incoming_free) on_incoming_free(incoming);
        break;
      }
      default:
        SHEAF_CHECK(false);
    }
  }
  freeing_ = false;
}

void Submitter::ReleaseRecordLocked(ObjectRoot* root) {
  const std::uint32_t record = std::exchange(root->result_record, 0);
  store::Peer* peer = parts_.peers->FindByIndex(root->producer);
  if (peer) peer->uses.fetch_sub(1, std::memory_order_relaxed);
  const std::uint8_t index = root->pair.load(std::memory_order_relaxed);
  if (index == kNoPair) return;
  OutPair* pair = &PairAt(index);
  if (pair->dead || store::IndexOf(pair->peer) != root->producer) return;
  pair->release_overflow.push_back(record);
  FlushReleasesLocked(*pair);
}

void Submitter::FlushReleasesLocked(OutPair& pair) {
  while (!pair.release_overflow.empty() &&
         Ring::Append(pair.out->release_ring, limits::kReleaseDepth, pair.out->released, pair.in->release_read,
                      &pair.release_written, pair.release_overflow.front()))
    pair.release_overflow.pop_front();
}

void Submitter::UpdateWantWord(OutPair& pair, int lane_index) {
  Lane& lane = pair.lanes[lane_index];
  std::uint64_t want = 0;
  for (const std::uint64_t target : lane.targets) {
    const auto after = static_cast<std::int32_t>(static_cast<std::uint32_t>(target) - static_cast<std::uint32_t>(want));
    if (want == 0 || after < 0 || (after == 0 && (target & store::kWantRead))) want = store::kWant | target;
  }
  pair.out->want[lane_index].store(want, std::memory_order_release);
}

// Which completions should wake a thread that is about to sleep: that of `root`, or, while it is not pushed, the
// next half of what every worker still has (or the next one).
void Submitter::AddTargetsLocked(const ObjectRoot* root, bool next,
                                 std::vector<std::pair<Lane*, std::uint64_t>>* added) {
  const HomeWord home = root ? HomeWord::Unpack(HomeOf(*root).word.load(std::memory_order_relaxed)) : HomeWord{};
  for (OutPair* pair : active_) {
    for (int lane_index = 0; lane_index < 2; ++lane_index) {
      Lane& lane = pair->lanes[lane_index];
      if (lane.head == lane.tail) continue;
      std::uint64_t tag = 0;
      if (home.kind == HomeKind::kBound) {
        if (&PairAt(root->pair.load(std::memory_order_relaxed)) != pair || static_cast<int>(home.lane) != lane_index)
          continue;
        tag = store::kWantRead | (home.position + 1);
      } else {
        tag = std::uint32_t{lane.head + 1 + (next ? 0 : (lane.tail - lane.head - 1) / 2)};
      }
      lane.targets.push_back(tag);
      added->push_back({&lane, tag});
      UpdateWantWord(*pair, lane_index);
    }
  }
}

void Submitter::RemoveTargetsLocked(const std::vector<std::pair<Lane*, std::uint64_t>>& added) {
  for (const auto& [lane, tag] : added) {
    const auto found = std::find(lane->targets.begin(), lane->targets.end(), tag);
    if (found != lane->targets.end()) lane->targets.erase(found);
  }
  for (OutPair* pair : active_)
    for (int lane_index = 0; lane_index < 2; ++lane_index) UpdateWantWord(*pair, lane_index);
}

}  // namespace sheaf::runtime
