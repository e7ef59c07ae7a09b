// What a submitter keeps of tasks that have ended, because their values speak of something unfinished (docs/decisions/0011), or because
// blocks of them lie on another machine (0012).
// The record stays in its slot as long as the value does; the arguments' pins stay in the root's Extra.
#include <algorithm>
#include <limits>
#include <utility>

#include "base/check.h"
#include "runtime/submitter.h"

namespace sheaf::runtime {

namespace {

constexpr std::int64_t kFirstLookNanos = 10'000'000, kLookMaxNanos = 1'000'000'000;
// So many values that are away may hang on each other: each keeps what its task was given, also what nobody else wants any more.
// The next one comes home, and those that are made of it count anew.
constexpr std::uint8_t kAwayDepthMax = 8;

}  // namespace

// Before ReadyLocked: what the task needed is known until then.
void Submitter::RememberLocked(ObjectRoot* root, std::uint32_t made_by, bool speaks, bool away) {
  if (remembered_count_ >= limits::kLineageMax) {
    if (away) must_come_.push_back(Place(*root));
    return;
  }
  if (remembered_.size() >= 2 * std::size_t{limits::kLineageMax})
    std::erase_if(remembered_, [this](const Remembered& task) {
      const ObjectRoot* old = slots_.RootOf(task.place.slot);
      return HomeOf(*old).generation.load(std::memory_order_relaxed) != task.place.generation || !old->extra ||
             old->extra->made_by != task.made_by;
    });
  Extra& extra = ExtraOf(root);
  extra.made_by = made_by;
  extra.away = away;
  away_count_ += away ? 1 : 0;
  extra.speaks = speaks;
  for (const Pin& hold : extra.holds) {
    if (!away || hold.get()->kind != kObjectRoot) continue;
    const auto& input = *static_cast<const ObjectRoot*>(hold.get());
    if (AwayAt(input) != 0 && input.extra->away_depth <= kAwayDepthMax)
      extra.away_depth = std::max(extra.away_depth, input.extra->away_depth);
  }
  extra.away_depth = static_cast<std::uint8_t>(extra.away_depth + (away ? 1 : 0));
  if (away && HeldBytesLocked(*root) > BytesLocked(*root)) extra.away_depth = kAwayDepthMax + 1;
  ++remembered_count_;
  Remembered task;
  task.place = Place(*root);
  task.made_by = made_by;
  task.shape = extra.shape;
  task.cpus_milli = extra.cpus_milli;
  task.number = ++remembered_ever_;
  next_look_ = 0;
  remembered_.push_back(std::move(task));
}

// What the arguments of a task keep in this machine's memory.
std::uint64_t Submitter::HeldBytesLocked(const ObjectRoot& root) const {
  std::uint64_t bytes = 0;
  for (const Pin& hold : root.extra->holds) {
    if (hold.get()->kind == kBlockRoot) bytes += static_cast<const BlockRoot*>(hold.get())->block.capacity;
    if (hold.get()->kind != kObjectRoot) continue;
    const auto& input = *static_cast<const ObjectRoot*>(hold.get());
    if (AwayAt(input) == 0) bytes += BytesLocked(input);
  }
  return bytes;
}

// Values that are away although nobody remembers how they were made: they shall come.
std::vector<Pin> Submitter::TakeMustComeLocked() {
  std::vector<Pin> taken;
  for (const QueuedTask& place : std::exchange(must_come_, {})) {
    ObjectRoot* root = slots_.RootOf(place.slot);
    if (root->phase != Phase::kReady || HomeOf(*root).generation.load(std::memory_order_relaxed) != place.generation)
      continue;
    if (Pin pin = PinIfHeld(root)) taken.push_back(std::move(pin));
  }
  return taken;
}

// The process would leave: true, and they come, while any value of its is away.
bool Submitter::BringHomeLocked() {
  for (const Remembered& task : remembered_) {
    ObjectRoot* root = slots_.RootOf(task.place.slot);
    if (HomeOf(*root).generation.load(std::memory_order_relaxed) != task.place.generation || AwayAt(*root) == 0)
      continue;
    if (root->extra->away_depth > kAwayDepthMax) continue;
    root->extra->away_depth = kAwayDepthMax + 1;
    next_look_ = 0;
  }
  return away_count_ > 0;  // the helper may have some of them in hand
}

// False: it is gone.
bool Submitter::TakeLocked(const Remembered& task, std::vector<Remembered>* taken) {
  ObjectRoot* root = slots_.RootOf(task.place.slot);
  if (root->phase != Phase::kReady || !root->extra || root->extra->made_by != task.made_by ||
      HomeOf(*root).generation.load(std::memory_order_relaxed) != task.place.generation)
    return false;
  // Nobody holds the value but the task's own borrow, or a thread that dropped the last pin and waits for the lock.
  const std::uint32_t nobody = root->extra->kept_by != 0 ? 1 : 0;
  Pin pin = PinIfHeld(root, nobody);
  if (!pin) {
    ForgetLineageLocked(root);
    return false;
  }
  taken->push_back(task);
  taken->back().root = root;
  taken->back().pin = std::move(pin);
  taken->back().away = root->extra->away;
  taken->back().deep = root->extra->away_depth > kAwayDepthMax;
  return true;
}

// What lay with one that has died is to be made again: nothing that takes it can begin meanwhile.
void Submitter::LoseAwayLocked(std::uint32_t made_by) {
  for (const Remembered& task : remembered_) {
    if (task.made_by != made_by) continue;
    const ObjectRoot* root = slots_.RootOf(task.place.slot);
    const bool same = HomeOf(*root).generation.load(std::memory_order_relaxed) == task.place.generation;
    if (same && root->extra && root->extra->made_by == made_by) root->extra->lost = root->extra->away;
  }
}

std::vector<Remembered> Submitter::TakeRememberedLocked(std::uint32_t made_by) {
  std::vector<Remembered> taken;
  std::erase_if(remembered_, [&](const Remembered& task) {
    if (task.made_by != made_by) return false;
    TakeLocked(task, &taken);
    return true;
  });
  // An object that several values speak of is made again by the first: whoever passed it on has ended later.
  std::sort(taken.begin(), taken.end(), [](const Remembered& a, const Remembered& b) { return a.number < b.number; });
  return taken;
}

std::vector<Remembered> Submitter::TakeRememberedLocked(std::int64_t now, std::size_t most) {
  std::vector<Remembered> taken;
  if (now < next_look_) return taken;
  next_look_ = std::numeric_limits<std::int64_t>::max();
  for (std::size_t left = remembered_.size(); left > 0 && taken.size() < most; --left) {
    Remembered task = std::move(remembered_.front());
    remembered_.pop_front();
    if (task.look_at == 0) task.look_at = now + kFirstLookNanos;
    if (task.look_at > now) {
      next_look_ = std::min(next_look_, task.look_at);
      remembered_.push_back(std::move(task));
    } else {
      TakeLocked(task, &taken);
    }
  }
  if (taken.size() == most) next_look_ = 0;
  return taken;
}

void Submitter::RememberAgainLocked(const Remembered& task, std::int64_t now) {
  Remembered again = task;
  again.root = nullptr;
  Pin pin = std::move(again.pin);
  again.waited = std::clamp(again.waited * 2, kFirstLookNanos, kLookMaxNanos);
  again.look_at = now + again.waited;
  next_look_ = std::min(next_look_, again.look_at);
  remembered_.push_back(std::move(again));
  DropLocked(std::move(pin));
}

void Submitter::ForgetLineageLocked(ObjectRoot* root) {
  if (!root->extra || root->extra->made_by == 0) return;
  root->extra->made_by = 0;
  IsAwayNoMoreLocked(root);
  root->extra->lost = false;
  SHEAF_CHECK(remembered_count_ > 0);
  --remembered_count_;
  if (root->extra->kept_by != 0) return;
  std::vector<Pin> holds;
  holds.swap(root->extra->holds);
  for (Pin& hold : holds) DropLocked(std::move(hold));
  if (root->extra->private_error.empty() && root->extra->stands_in.empty()) GiveExtraLocked(root);
}

void Submitter::EndLineageLocked(ObjectRoot* root, std::vector<Pin> stands_in) {
  if (!stands_in.empty()) ExtraOf(root).stands_in = std::move(stands_in);
  ForgetLineageLocked(root);
}

void Submitter::IsAwayNoMoreLocked(ObjectRoot* root) {
  if (!root->extra || !std::exchange(root->extra->away, false)) return;
  root->extra->away_depth = 0;
  SHEAF_CHECK(away_count_ > 0);
  --away_count_;
}

// All blocks of that object's value are here now.
void Submitter::HasArrivedLocked(std::uint32_t slot, std::uint32_t generation) {
  // The completion was published before this was said, but perhaps nobody has read it yet.
  PumpLocked();
  ObjectRoot* root = slots_.RootOf(slot);
  if (!root || root->phase != Phase::kReady || HomeOf(*root).generation.load(std::memory_order_relaxed) != generation ||
      AwayAt(*root) == 0)
    return;
  IsAwayNoMoreLocked(root);
  if (!root->extra->speaks) ForgetLineageLocked(root);
}

bool Submitter::DropLineageLocked(bool away_too) {
  std::deque<Remembered> all;
  all.swap(remembered_);
  std::vector<Remembered> taken;
  for (const Remembered& task : all) {
    if (!away_too && AwayAt(*slots_.RootOf(task.place.slot)) != 0) {
      remembered_.push_back(task);
    } else {
      TakeLocked(task, &taken);
    }
  }
  for (Remembered& task : taken) {
    ForgetLineageLocked(task.root);
    DropLocked(std::move(task.pin));
  }
  return !taken.empty();
}

store::OwnBlock Submitter::AllocateBlockLocked(std::uint64_t bytes) {
  const store::OwnBlock block = parts_.heap->Allocate(bytes);
  return block.data || !DropLineageLocked(true) ? block : parts_.heap->Allocate(bytes);
}

// The same record again, under a name of its own. It sees the same argument bytes: both runs hold them.
RefCore Submitter::RunAgainLocked(const Remembered& task) {
  const ObjectRoot& first = *task.root;
  SHEAF_CHECK(first.retries > 0);
  ObjectRoot* root = AllocateLocked();
  root->refs.store(2, std::memory_order_relaxed);  // the caller's ref, and the task itself until it is done
  root->retries = static_cast<std::int16_t>(first.retries - 1);
  root->attempt = static_cast<std::uint16_t>(first.attempt + 1);
  root->phase = Phase::kInline;
  ++outstanding_;
  store::TaskRecord& record = slots_.SlotOf(*root).task;
  record = slots_.SlotOf(first).task;
  record.attempt = root->attempt;
  record.retries = static_cast<std::uint16_t>(root->retries);
  if (first.extra) {
    for (const Pin& hold : first.extra->holds) ExtraOf(root).holds.push_back(hold);
    if (!first.extra->name.empty()) ExtraOf(root).name = first.extra->name;
  }
  if (task.cpus_milli != 0) {
    ExtraOf(root).cpus_milli = task.cpus_milli;
    ++shapes_[task.shape].wide[task.cpus_milli];
  }
  if (task.shape != 0) {
    ExtraOf(root).shape = task.shape;
    ++shapes_[task.shape].outstanding;
  }
  RefCore ref{Pin::Adopt(root), detail::kWhole};
  if (pool_lost_) {
    FailLocked(root, "PoolLostError", "the pool of this machine has ended; no task can be started any more");
    return ref;
  }
  // By the urgent lane, as a retry: in lane 0 it might lie behind what waits for it, and what the record says of where its inputs
  // were pushed may be true of another pair by now.
  RequeueLocked(root);
  PumpLocked();
  return ref;
}

}  // namespace sheaf::runtime
