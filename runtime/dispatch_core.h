// Decides which leased worker gets the next task, how much may wait at it, when to ask for more workers and when to take
// tasks back.
//
// Sans-IO: no clock, no memory of others, no lock. The Submitter tells it what happened and does what it says; the
// simulator does the same.
//
// Placement is list scheduling by earliest start (Topcuoglu, Hariri and Wu, "Performance-effective and low-complexity task
// scheduling for heterogeneous computing", IEEE TPDS 13(3), 2002, section 4.2): a worker's queue is counted in the time that
// its tasks are expected to take, an input that is still to come delays the start, and an input made by another worker costs
// a little. So siblings go to different workers, chains stay where they are, and the columns of a stencil keep together.
// What a function takes is learnt from what the workers measured.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "base/check.h"
#include "base/limits.h"

namespace sheaf::runtime {

class DispatchCore {
 public:
  static constexpr int kNone = -1;
  // What may wait at a worker: enough to last until the submitter is awake again, little enough to stay in the caches; of
  // longer tasks a few all the same.
  static constexpr std::uint32_t kQueueMax = 128;
  static constexpr std::int64_t kQueueNanos = 1'000'000, kQueueNanosOfFew = 4'000'000;
  static constexpr std::uint32_t kFew = 4;
  static constexpr std::int64_t kStuckNanos = 1'000'000;  // without progress for so long, what waits may be taken back
  static constexpr std::int64_t kAllStarveNanos =
      10'000'000;  // so long no pair has: nobody here will make what they wait for
  // How much later a start may be to have an input near; less if the other worker would be idle until then.
  static constexpr std::int64_t kFarNanos = 2'000, kFarNanosOfIdle = 400;
  static constexpr std::uint32_t kUnknownNanos = 1'000'000;  // what a function is expected to take before it has run
  // A relay's tasks reach their worker, and its results us, so much later; so many may be under way to fill that time.
  static constexpr std::int64_t kRelayNanos = 200'000;
  static constexpr std::uint32_t kRelayQueueMax = 512;
  static constexpr std::int64_t kAheadMax = 1'000'000'000;  // a start that is further ahead says nothing

  struct Pair {
    bool open = false;     // leased and alive
    bool paused = false;   // a recall is open: no pushes on the ordinary lane
    bool full = false;     // no position is free: holes of a recall count until the head has passed them
    bool blocked = false;  // its executor waits inside Get
    bool starved = false;  // its executor sleeps, with entries whose inputs are not there
    bool taken = false;    // its executor runs a task of somebody else, and has for a while: ours there have not begun
    bool pushed_since_recall = false;
    std::uint32_t widest = ~std::uint32_t{0};  // thousandths of a CPU that a task may ask for
    std::uint32_t shape = 0;                   // of the tasks that it runs
    std::uint32_t places = 0;                  // 0: a worker. Else a relay: how many tasks the other pool runs at once
    std::uint32_t in_flight = 0;
    std::int64_t load = 0;           // nanoseconds that what is in flight is expected to take
    std::int64_t due = 0;            // when the task pushed last should be done
    std::int64_t last_progress = 0;  // a result came, or the first task was pushed
    std::int64_t recalled = 0;       // when the last recall began
  };
  // Of one input: the pair it was pushed to, or kNone; when it is expected, 0 if it is there.
  struct Input {
    int pair = kNone;
    std::int64_t ready = 0;
  };
  struct Choice {
    int pair = kNone;  // kNone: keep the task in the backlog
    std::int64_t start = 0;
  };

  void Open(int pair, std::uint32_t places = 0, std::uint32_t widest = ~std::uint32_t{0}, std::uint32_t shape = 0) {
    if (pair >= size()) pairs_.resize(static_cast<std::size_t>(pair) + 1);
    At(pair) = Pair{};
    At(pair).open = true;
    At(pair).places = places;
    At(pair).widest = widest;
    At(pair).shape = shape;
  }
  void Close(int pair) { At(pair) = Pair{}; }
  Pair& At(int pair) {
    SHEAF_CHECK(pair >= 0 && pair < size());
    return pairs_[static_cast<std::size_t>(pair)];
  }
  int size() const { return static_cast<int>(pairs_.size()); }

  // For a task that is expected to take `cost`. If the best worker has no room the task waits for it: elsewhere it would only
  // wait for its inputs, in front of what could run.
  // `moves`: by pair, how long bringing the inputs' bytes there takes; empty: they are near everywhere.
  Choice Choose(std::span<const Input> inputs, std::uint32_t cost, std::uint32_t milli = 0, std::uint32_t shape = 0,
                std::span<const std::int64_t> moves = {}) const {
    std::int64_t ready = clock_;
    for (const Input& input : inputs) ready = std::max(ready, std::min(input.ready, clock_ + kAheadMax));
    Choice best;
    std::int64_t best_score = std::numeric_limits<std::int64_t>::max();
    for (int i = 0; i < size(); ++i) {
      const Pair& pair = pairs_[static_cast<std::size_t>(i)];
      if (!pair.open || pair.paused || pair.blocked || milli > pair.widest || shape != pair.shape) continue;
      const std::int64_t free = FreeAt(pair);
      const std::int64_t start = std::max(ready, free) + (moves.empty() ? 0 : moves[static_cast<std::size_t>(i)]);
      const std::int64_t penalty = free <= ready ? kFarNanosOfIdle : kFarNanos;
      std::int64_t score = start;
      for (const Input& input : inputs) score += input.pair != kNone && input.pair != i ? penalty : 0;
      // Tasks without inputs that come one after the other are neighbours, often: short ones go in runs.
      if (inputs.empty() && last_ != kNone && i != last_) score += kFarNanos;
      if (best.pair != kNone && (score > best_score || (score == best_score && !Warmer(i, best.pair)))) continue;
      best = {i, start};
      best_score = score;
    }
    if (best.pair != kNone && !HasRoom(pairs_[static_cast<std::size_t>(best.pair)], cost)) return {};
    return best;
  }
  // For a task whose inputs are there, perhaps on an urgent lane: these are never taken back, so who is stuck gets none, however long
  // it would have to wait for somebody else. `late`: how much earlier it would start elsewhere, if its inputs' bytes were there.
  template <class HasPlace>
  int ChooseUrgent(HasPlace has_place, std::span<const std::int64_t> moves = {}, std::int64_t* late = nullptr) const {
    int best = kNone;
    std::int64_t best_start = 0, earliest = std::numeric_limits<std::int64_t>::max();
    for (int i = 0; i < size(); ++i) {
      const Pair& pair = pairs_[static_cast<std::size_t>(i)];
      if (!pair.open || pair.blocked || pair.taken || (pair.paused && !pair.starved) || IsStuck(pair, clock_) ||
          !has_place(i))
        continue;
      const std::int64_t free = FreeAt(pair);
      earliest = std::min(earliest, free);
      const std::int64_t start = free + (moves.empty() ? 0 : moves[static_cast<std::size_t>(i)]);
      if (best != kNone && start >= best_start) continue;
      best = i;
      best_start = start;
    }
    if (late) *late = best == kNone ? 0 : best_start - earliest;
    return best;
  }

  // `start`: as chosen. `now`: 0 if nobody looked at the clock for this push.
  void OnPushed(int pair, std::int64_t start, std::uint32_t cost, std::int64_t now) {
    Pair& at = At(pair);
    Tick(now);
    if (at.in_flight++ == 0) at.last_progress = clock_;
    at.load += cost;
    at.due = std::max(at.due, std::max(start, clock_) + cost);
    at.pushed_since_recall = true;
    last_ = pair;
  }
  // `cost`: the sum of what was said when they were pushed.
  void OnConsumed(int pair, std::uint32_t count, std::int64_t cost, std::int64_t now) {
    Tick(now);
    OnTakenBack(pair, count, cost);
    At(pair).last_progress = clock_;
    At(pair).due = std::min(At(pair).due, clock_ + 2 * At(pair).load);  // faster than expected, if it lay further ahead
  }
  void OnTakenBack(int pair, std::uint32_t count, std::int64_t cost) {
    Pair& at = At(pair);
    SHEAF_CHECK(at.in_flight >= count && at.load >= cost);
    at.in_flight -= count;
    at.load -= cost;
  }
  void OnRecalled(int pair) {
    At(pair).paused = true;
    At(pair).pushed_since_recall = false;
    At(pair).recalled = clock_;
  }

  // A worker has measured a run of `function`.
  void Learn(std::uint32_t function, std::uint32_t nanos) {
    std::uint32_t& cost = costs_[function % costs_.size()];
    nanos = std::max(nanos, 1u);
    // A run that was interrupted took much longer than the next one will: up by a quarter at most, down at once.
    nanos = cost == 0 ? nanos : std::min(nanos, cost * 2);
    cost = cost == 0 ? nanos : static_cast<std::uint32_t>((std::uint64_t{cost} * 3 + nanos + 3) / 4);
  }
  std::uint32_t CostOf(std::uint32_t function) const {
    const std::uint32_t cost = costs_[function % costs_.size()];
    return cost == 0 ? kUnknownNanos : cost;
  }

  void Tick(std::int64_t now) { clock_ = std::max(clock_, now); }  // before a choice, if time may have passed
  std::int64_t clock() const { return clock_; }
  bool AnyIdle(std::uint32_t shape = 0) const {
    return std::any_of(pairs_.begin(), pairs_.end(), [shape](const Pair& at) {
      return at.open && at.shape == shape && !at.paused && !at.blocked && at.in_flight == 0;
    });
  }

  // Whether a task would begin there now; and whether anybody runs one, and so will be free without our doing. Of a relay only its
  // own machine knows.
  bool IsFree(int pair) const {
    const Pair& at = pairs_[static_cast<std::size_t>(pair)];
    if (!at.open || at.blocked) return false;
    return at.places > 0 ? at.in_flight < at.places : (at.in_flight == 0 && !at.paused) || at.starved;
  }
  bool AnyRuns(std::uint32_t shape) const {
    return std::any_of(pairs_.begin(), pairs_.end(), [shape](const Pair& at) {
      return at.open && at.shape == shape && !at.blocked && !at.starved && at.places == 0 && at.in_flight > 0;
    });
  }

  // Whether another machine has places that are free as soon as it has heard of a recall.
  bool AnySettles(std::uint32_t shape) const {
    return std::any_of(pairs_.begin(), pairs_.end(), [shape](const Pair& at) {
      return at.open && at.shape == shape && !at.blocked && at.paused && at.in_flight < at.places;
    });
  }

  // How many workers are worth having for `outstanding` unfinished tasks.
  static std::uint32_t Want(std::uint64_t outstanding, std::uint32_t slots) {
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(outstanding, slots));
  }
  // Whether nothing of the pair's has ended, or a recall has had no answer, for so long that somebody may look what its worker does.
  bool MayBeTaken(int pair, std::int64_t now) const {
    const Pair& at = pairs_[static_cast<std::size_t>(pair)];
    if (!at.open || at.places > 0 || at.blocked || (at.in_flight == 0 && !at.paused)) return false;
    return now - (at.in_flight > 0 ? at.last_progress : at.recalled) >= kStuckNanos;
  }
  // Workers that are leased and no use.
  std::uint32_t Lost(std::uint32_t shape) const {
    return static_cast<std::uint32_t>(std::count_if(pairs_.begin(), pairs_.end(), [shape](const Pair& at) {
      return at.open && at.shape == shape && !at.blocked && at.taken;
    }));
  }
  // Tasks with workers that have not begun them.
  std::uint64_t NotBegun(std::uint32_t shape) const {
    std::uint64_t tasks = 0;
    for (const Pair& at : pairs_) {
      const std::uint32_t run = at.places > 0 ? at.places : at.taken ? 0 : 1;
      if (at.open && at.shape == shape && at.in_flight > run) tasks += at.in_flight - run;
    }
    return tasks;
  }
  // What a task with a worker of this machine is expected to take.
  std::int64_t CostInLanes(std::uint32_t shape) const {
    std::int64_t cost = 0;
    for (const Pair& at : pairs_)
      if (at.open && at.shape == shape && at.places == 0 && at.in_flight > 0)
        cost = std::max(cost, at.load / at.in_flight);
    return cost;
  }
  // Places on other machines that have something to do.
  std::uint32_t PlacesInUse(std::uint32_t shape) const {
    std::uint32_t places = 0;
    for (const Pair& at : pairs_)
      if (at.open && at.shape == shape) places += std::min(at.places, at.in_flight);
    return places;
  }
  // For how long nobody of this machine, or of the others, has finished anything; -1: none of them has anything to do.
  std::int64_t SilentFor(std::uint32_t shape, std::int64_t now, bool others = false) const {
    std::int64_t silent = -1;
    for (const Pair& at : pairs_) {
      if (!at.open || at.shape != shape || (at.places > 0) != others || at.blocked || at.in_flight == 0) continue;
      silent = silent < 0 ? now - at.last_progress : std::min(silent, now - at.last_progress);
    }
    return silent;
  }

  // What the executor of this very process could do about tasks that wait: nothing, run the one that it waits for, or any.
  enum class Own { kBusy, kWaits, kIdle };

  // Whether tasks that a worker has not begun should be taken back: it waits in Get; or it is stuck in one task while
  // somebody else has nothing to do, another worker or this process; or while a task of this process waits (Own::kWaits) it
  // starves, as what that one waits for may lie behind an entry that in turn waits for it; or it runs a task of somebody else's
  // meanwhile, which may be endless, and the one that waits can run what it waits for itself.
  bool ShouldRecall(int pair, std::int64_t now, Own own = Own::kBusy) const {
    const Pair& at = pairs_[static_cast<std::size_t>(pair)];
    if (!at.open || at.paused || at.in_flight < 1 || !at.pushed_since_recall) return false;
    if (at.blocked) return true;
    if ((at.in_flight < 2 && !at.taken) || now - at.last_progress < kStuckNanos) return false;
    if (own == Own::kWaits && (at.starved || at.taken)) return true;
    if (own == Own::kIdle && !at.starved && at.places == 0) return true;
    for (int i = 0; i < size(); ++i) {
      const Pair& other = pairs_[static_cast<std::size_t>(i)];
      if (i == pair || !other.open || other.shape != at.shape || other.blocked || other.paused) continue;
      // What waits at a relay has its bytes there: it leaves only for somebody who has nothing at all.
      if (at.places == 0 && other.places > 0 ? other.in_flight < other.places : other.in_flight == 0) return true;
    }
    return false;
  }
  // Nobody can go on: what all wait for comes from elsewhere, and may be made of tasks behind them, or of some that no worker has
  // (`more_wait`). Who waits inside Get makes room for another worker, which may be on its way.
  bool IsInTheWay(int pair, std::int64_t now, bool more_wait) const {
    const Pair& at = pairs_[static_cast<std::size_t>(pair)];
    if (!at.open || at.paused || !at.pushed_since_recall || at.in_flight < (more_wait ? 1 : 2)) return false;
    return std::all_of(pairs_.begin(), pairs_.end(), [now](const Pair& other) {
      if (!other.open || (other.in_flight == 0 && !other.blocked)) return true;
      return !other.blocked && other.starved && other.places == 0 && now - other.last_progress >= kAllStarveNanos;
    });
  }

 private:
  // In one task, of ours or of somebody else's: who knows for how long.
  static bool IsStuck(const Pair& pair, std::int64_t now) {
    return pair.places == 0 && !pair.starved && pair.in_flight > 0 && now - pair.last_progress >= kStuckNanos;
  }
  // What is in flight began when the last result came. Who is late is expected to need as long again.
  std::int64_t FreeAt(const Pair& pair) const {
    if (pair.places > 0)
      return clock_ + kRelayNanos + (pair.in_flight < pair.places ? 0 : pair.load / std::int64_t{pair.places});
    if (pair.in_flight == 0) return clock_;
    const std::int64_t passed = clock_ - pair.last_progress;
    return std::max(pair.due, clock_ + (passed < pair.load ? pair.load - passed : passed));
  }
  static bool HasRoom(const Pair& pair, std::uint32_t cost) {
    if (pair.places > 0) {
      return !pair.full && pair.in_flight < kRelayQueueMax &&
             (pair.in_flight < 2 * pair.places || (pair.load + cost) / pair.places <= kQueueNanos);
    }
    return !pair.full && pair.in_flight < kQueueMax &&
           (pair.in_flight == 0 || pair.load + cost <= (pair.in_flight < kFew ? kQueueNanosOfFew : kQueueNanos));
  }
  // Of two workers that could start at the same time: the one with less to do, then the one that was pushed to last.
  bool Warmer(int a, int b) const {
    const std::uint32_t of_a = pairs_[static_cast<std::size_t>(a)].in_flight;
    const std::uint32_t of_b = pairs_[static_cast<std::size_t>(b)].in_flight;
    return of_a < of_b || (of_a == of_b && a == last_);
  }

  std::vector<Pair> pairs_;
  std::array<std::uint32_t, 256> costs_{};  // nanoseconds by function, modulo the size; 0: never measured
  std::int64_t clock_ = 0;                  // the latest time that anybody told
  int last_ = kNone;
};

}  // namespace sheaf::runtime
