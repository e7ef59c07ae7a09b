// seal: a result becomes visible, and what it and the task's arguments name stays for as long as somebody may read it.

#include <algorithm>

#include "base/barrier.h"
#include "runtime/typed/registry.h"
#include "worker/executor.h"

namespace sheaf::worker {

using detail::Pin;
using runtime::IncomingRoot;

void Executor::StoreOutcome(detail::Encoder& result, Outcome* outcome) {
  *outcome = runtime::StoreHome(context_, result, outcome->flags);
}

// Objects of this process without a value, or whose values may speak of such.
bool Executor::SpeaksOfUnfinished(const Outcome& outcome) const {
  if (outcome.flags & store::kFlagError) return false;
  return std::any_of(outcome.holds.begin(), outcome.holds.end(), [&](const Pin& hold) {
    if (hold.get()->kind != runtime::kObjectRoot) return false;
    const auto& root = *static_cast<const runtime::ObjectRoot*>(hold.get());
    const auto home = store::HomeWord::Unpack(context_.submitter().HomeOf(root).word.load(std::memory_order_acquire));
    return home.kind != store::HomeKind::kValue || (home.flags & store::kFlagMarked);
  });
}

void Executor::Publish(InPair& pair, int lane, std::uint32_t position, Outcome& outcome) {
  store::Completion& done = store::CompletionAt(*pair.in, lane, position);
  if (SpeaksOfUnfinished(outcome)) outcome.flags |= store::kFlagSpeaks;
  const std::uint32_t record = outcome.holds.empty() ? 0 : KeepRecord(pair.peer, std::move(outcome.holds));
  Ring::Publish(done, position, outcome.flags, outcome.size, record, outcome.payload.data());
  context_.control()->executed.store(++executed_, std::memory_order_relaxed);
  RingSubmitter(pair, lane, position);
  context_.RingAwaiting(BoundHere(pair, lane, position));
}

// The home word of the task at `position`, as its submitter has written it.
std::uint64_t Executor::BoundHere(const InPair& pair, int lane, std::uint32_t position) const {
  store::HomeWord bound{store::HomeKind::kBound};
  bound.lane = static_cast<std::uint32_t>(lane);
  bound.worker = store::IndexOf(context_.client);
  bound.region = pair.region;
  bound.position = position;
  return bound.Pack();
}

void Executor::RingSubmitter(InPair& pair, int lane, std::uint32_t position) {
  if (forwards_) {
    // Results do not come in the order of their positions: a wish for one position says little about the others.
    FullBarrier();  // the completion before the look: the sleeper writes its wish before it looks
    if (pair.out->want[lane].load(std::memory_order_acquire) != 0) context_.submitter().Bell(store::IndexOf(pair.peer));
    return;
  }
  if (Ring::WaiterMissed(pair.out->want[lane], position + 1, &pair.rung_want[lane]))
    context_.submitter().Bell(store::IndexOf(pair.peer));
}

std::uint32_t Executor::KeepRecord(std::uint32_t submitter, std::vector<Pin> holds) {
  runtime::Submitter::Lock lock(context_.submitter());
  if (free_records_.empty()) {
    records_.emplace_back();
    free_records_.push_back(static_cast<std::uint32_t>(records_.size()));
  }
  const std::uint32_t name = free_records_.back();
  free_records_.pop_back();
  records_[name - 1].submitter = submitter;
  records_[name - 1].holds = std::move(holds);
  return name;
}

void Executor::DrainReleasesLocked(InPair& pair) {
  std::uint32_t name = 0;
  while (Ring::Take(pair.out->release_ring, limits::kReleaseDepth, pair.out->released, pair.in->release_read,
                    &pair.release_read, &name)) {
    if (name == 0 || name > records_.size() || records_[name - 1].submitter != pair.peer) continue;
    std::vector<Pin> holds;
    holds.swap(records_[name - 1].holds);
    records_[name - 1].submitter = 0;
    free_records_.push_back(name);
    for (Pin& hold : holds) context_.submitter().DropLocked(std::move(hold));
  }
  while (!pair.kept_overflow.empty() &&
         Ring::Append(pair.in->kept_ring, limits::kKeptDepth, pair.in->kept_released, pair.out->kept_read,
                      &pair.kept_written, pair.kept_overflow.front()))
    pair.kept_overflow.pop_front();
  pair.kept_waits.store(!pair.kept_overflow.empty(), std::memory_order_relaxed);
}

void Executor::TakeReleases() {
  if (!OnThisThread()) return;  // what a pair knows of its match is the loop's
  const std::uint32_t end = pairs_end_.load(std::memory_order_acquire);
  for (std::uint32_t i = 0; i < end; ++i) {
    InPair* pair = pairs_[i].load(std::memory_order_acquire);
    if (!pair || pair->gone.load(std::memory_order_acquire) ||
        pair->out->released.load(std::memory_order_acquire) == pair->in->release_read.load(std::memory_order_relaxed))
      continue;
    runtime::Submitter::Lock lock(context_.submitter());
    if (Matched(*pair) && !pair->ended) DrainReleasesLocked(*pair);
  }
}

void Executor::WriteKeptLocked(InPair& pair, std::uint32_t slot) {
  pair.kept_overflow.push_back(slot);
  DrainReleasesLocked(pair);
}

// Nothing uses the arguments of a task any more. Any thread, under the submitter's lock.
void Executor::FreeIncoming(IncomingRoot* incoming) {
  if (incoming->submitter != 0 && incoming->kept) {
    InPair* pair = pairs_[incoming->region].load(std::memory_order_acquire);
    if (store::Peer* peer = context_.peers().Find(incoming->submitter)) peer->uses.fetch_sub(1);
    if (pair && pair->peer == incoming->submitter && !pair->gone.load(std::memory_order_acquire))
      WriteKeptLocked(*pair, incoming->slot);
  }
  delete incoming;
}

}  // namespace sheaf::worker
