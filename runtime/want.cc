// want: how many workers the pool is asked for, by shape, here and on other machines. A level, said again when it changes.
#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "runtime/submitter.h"

namespace sheaf::runtime {

// How many CPUs on other machines are worth their price: those that are used, and more for what would wait here for long, or has
// waited. With a busy worker or in our own queues is the same for what waits.
std::uint32_t Submitter::UsefulElsewhereLocked(std::uint32_t shape) const {
  constexpr std::int64_t kWorthNanos = 20'000'000;
  if (!parts_.clustered || stay_here) return 0;
  const ShapeQueue& queue = shapes_[shape];
  const std::uint64_t queued = WaitingLocked(shape), waiting = queued + core_.NotBegun(shape);
  if (waiting == 0) return 0;
  constexpr std::uint64_t kMost = limits::kPairsMax;
  const std::uint64_t tasks = UnfinishedLocked(shape);
  const std::int64_t now = NowNanos();
  if (parts_.slots == 0) {  // other machines do everything: more of them, unless those that we have go on
    if (queued == 0 && core_.SilentFor(shape, now, true) < kWorthNanos) return 0;
    return static_cast<std::uint32_t>(std::min(tasks, kMost));
  }
  std::int64_t each = 0;
  const auto is_first = [&](const QueuedTask& place) {
    const ObjectRoot* root = Waiting(place);
    if (!root || ShapeOf(*root) != shape) return false;
    each = core_.CostOf(slots_.SlotOf(*root).task.function);
    return true;
  };
  if (queued > 0 && !std::any_of(requeue_.begin(), requeue_.end(), is_first))
    static_cast<void>(std::any_of(queue.backlog.begin(), queue.backlog.end(), is_first));
  if (each == 0) each = core_.CostInLanes(shape);
  std::int64_t still = core_.SilentFor(shape, now);
  if (still < 0) still = queue.last_ready == 0 ? 0 : now - queue.last_ready;
  const std::int64_t wait = std::max(each, still) * static_cast<std::int64_t>(waiting) / parts_.slots;
  const std::uint64_t more = std::min<std::uint64_t>(static_cast<std::uint64_t>(wait / kWorthNanos), waiting);
  return more == 0 ? 0 : static_cast<std::uint32_t>(std::min(more + core_.PlacesInUse(shape), kMost));
}

std::uint64_t Submitter::WaitingLocked(std::uint32_t shape) const {
  if (shape != 0) return shapes_[shape].waiting;
  std::uint64_t waiting = backlog_size_;
  for (const ShapeQueue& other : shapes_) waiting -= other.waiting;
  return waiting;
}

std::uint64_t Submitter::UnfinishedLocked(std::uint32_t shape) const {
  if (shape != 0) return shapes_[shape].outstanding;
  std::uint64_t unfinished = outstanding_ - promised_;
  for (const ShapeQueue& other : shapes_) unfinished -= other.outstanding;
  return unfinished;
}

// Once asked for, places elsewhere stay wanted as long as so many tasks have been unfinished at a time within a second: a burst finds those
// of the last one.
std::uint32_t Submitter::KeptElsewhereLocked(std::uint32_t shape, std::uint64_t unfinished) {
  constexpr std::int64_t kWindowNanos = 1'000'000'000;
  ShapeQueue& queue = shapes_[shape];
  queue.most = std::max(queue.most, unfinished);
  if (core_.clock() - queue.most_since < kWindowNanos) return queue.wanted_elsewhere;
  const std::uint64_t most = std::exchange(queue.most, unfinished);
  const bool first = std::exchange(queue.most_since, core_.clock()) == 0;
  return first ? queue.wanted_elsewhere
               : static_cast<std::uint32_t>(
                     std::min<std::uint64_t>(std::max<std::uint64_t>(most, 1), queue.wanted_elsewhere));
}

void Submitter::WantLocked() {
  for (std::uint32_t shape = 0; shape < shapes_.size(); ++shape) WantLocked(shape);
}

void Submitter::WantLocked(std::uint32_t shape) {
  ShapeQueue& queue = shapes_[shape];
  const std::uint64_t unfinished = UnfinishedLocked(shape);
  const std::uint32_t want = DispatchCore::Want(unfinished, parts_.slots);
  std::uint32_t blocked = 0, blocked_others = 0;
  const std::uint32_t lost = core_.Lost(shape);
  for (int i = 0; i < core_.size(); ++i)
    if (core_.At(i).open && core_.At(i).blocked) ++(core_.At(i).shape == shape ? blocked : blocked_others);
  const std::uint32_t level = std::min(want, parts_.slots) + (want ? blocked + lost : 0);
  // The last task of a shape is done while others wait, or wait inside Get: perhaps for what its workers hold.
  const bool over =
      unfinished == 0 && (backlog_size_ > 0 || blocked_others > 0) && queue.wanted + queue.wanted_elsewhere > 0;
  const std::uint32_t kept = KeptElsewhereLocked(shape, unfinished);
  const std::uint32_t elsewhere = over ? 0 : std::max(UsefulElsewhereLocked(shape), kept);
  const std::uint32_t milli = want || elsewhere ? queue.Widest() : 1000;
  if (!over && milli == queue.wanted_milli && level <= queue.wanted && !(blocked + lost > 0 && level != queue.wanted) &&
      elsewhere == queue.wanted_elsewhere)
    return;
  queue.wanted = level;
  queue.wanted_milli = milli;
  queue.wanted_elsewhere = elsewhere;
  wire::Want message{};
  message.workers = level;
  message.cpus_milli = milli;
  message.elsewhere = elsewhere;
  message.shape = shape;
  parts_.socket->Send(message, wire::Kind::kWant);
}

// What a wish depends on changes without an event as well: how long somebody has waited, or a worker has been lost to others.
bool Submitter::IsWantStaleLocked(std::int64_t now) {
  constexpr std::int64_t kLookNanos = 2'000'000;
  if (now - want_looked_at_ < kLookNanos) return false;
  want_looked_at_ = now;
  if (parts_.clustered && !stay_here) return true;
  for (std::uint32_t shape = 0; shape < shapes_.size(); ++shape)
    if (core_.Lost(shape) > 0) return true;
  return false;
}

void Submitter::LowerWantLocked(bool all, std::int64_t now) {
  constexpr std::int64_t kKeepShapeNanos = 200'000'000;  // what others may wait for is rarer than a CPU
  for (std::uint32_t shape = all ? 0 : 1; shape < shapes_.size(); ++shape) {
    ShapeQueue& queue = shapes_[shape];
    if (queue.wanted == 0 && queue.wanted_elsewhere == 0 && queue.wanted_milli != 0) continue;
    if (UnfinishedLocked(shape) > 0 || (!all && now - queue.last_ready < kKeepShapeNanos)) continue;
    queue.wanted = queue.wanted_elsewhere = 0;
    queue.wanted_milli = 1000;
    wire::Want message{};
    message.shape = shape;
    parts_.socket->Send(message, wire::Kind::kWant);
  }
}

}  // namespace sheaf::runtime
