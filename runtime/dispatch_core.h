// Decides which leased worker gets the next task, how many may wait at it, when to ask for more workers and when to take tasks back.
//
// Sans-IO: no clock, no memory of others, no lock. The Submitter tells it what happened and does what it says; the
// simulator does the same. Depth follows task time: it doubles each time a worker has drained what it was given in less than
// kShortNanos a task, and halves when a single task takes longer than kLongNanos. So short tasks flow in long
// batches, and nothing queues behind a long one.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/check.h"
#include "base/limits.h"

namespace sheaf::runtime {

class DispatchCore {
 public:
  static constexpr std::int64_t kShortNanos = 50'000;
  static constexpr std::int64_t kLongNanos = 1'000'000;
  static constexpr int kNone = -1;
  static constexpr std::uint32_t kFollow = 8;  // how far a queue may outgrow the others by following inputs

  struct Pair {
    bool open = false;      // leased and alive
    bool paused = false;    // a recall is open: no pushes on the ordinary lane
    bool full = false;      // no position is free: holes of a recall count until the head has passed them
    bool blocked = false;   // its executor waits inside Get
    std::uint32_t in_flight = 0;
    std::uint32_t depth = 2;
    std::uint32_t drained = 0;         // consumed since batch_start
    std::int64_t batch_start = 0;
    std::int64_t last_progress = 0;    // a result came, or the first task was pushed
  };

  void Open(int pair) {
    if (pair >= static_cast<int>(pairs_.size())) pairs_.resize(static_cast<std::size_t>(pair) + 1);
    pairs_[static_cast<std::size_t>(pair)] = Pair{};
    At(pair).open = true;
  }
  void Close(int pair) { At(pair) = Pair{}; }
  Pair& At(int pair) {
    SHEAF_CHECK(pair >= 0 && pair < static_cast<int>(pairs_.size()));
    return pairs_[static_cast<std::size_t>(pair)];
  }
  int size() const { return static_cast<int>(pairs_.size()); }

  // The pair to push to, or kNone: keep it in the backlog. `preferred` holds an input; following the input saves a
  // transfer between cores, unless it lets that worker's queue grow past the others by more than a little.
  int Choose(int preferred) const {
    int best = kNone;
    for (int i = 0; i < size(); ++i) {
      const Pair& pair = pairs_[static_cast<std::size_t>(i)];
      if (!Usable(pair)) continue;
      if (best == kNone || pair.in_flight < pairs_[static_cast<std::size_t>(best)].in_flight ||
          (i == last_ && pair.in_flight == pairs_[static_cast<std::size_t>(best)].in_flight))
        best = i;
    }
    if (best == kNone || preferred == kNone || preferred >= size()) return best;
    const Pair& liked = pairs_[static_cast<std::size_t>(preferred)];
    const std::uint32_t least = pairs_[static_cast<std::size_t>(best)].in_flight;
    return Usable(liked) && liked.in_flight <= least + std::min(kFollow, std::max(1u, liked.depth / 4)) ? preferred : best;
  }

  void OnPushed(int pair, std::int64_t now) {
    Pair& at = At(pair);
    if (at.in_flight++ == 0) {
      at.batch_start = now;
      at.last_progress = now;
      at.drained = 0;
    }
    last_ = pair;
  }
  void OnConsumed(int pair, std::uint32_t count, std::int64_t now) {
    Pair& at = At(pair);
    SHEAF_CHECK(at.in_flight >= count);
    at.in_flight -= count;
    at.drained += count;
    at.last_progress = now;
    if (at.drained < std::max<std::uint32_t>(1, at.depth / 2) && at.in_flight != 0) return;
    const std::int64_t each = (now - at.batch_start) / std::max<std::uint32_t>(1, at.drained);
    if (each < kShortNanos) at.depth = std::min(at.depth * 2, limits::kLaneDepth);
    if (each > kLongNanos) at.depth = std::max<std::uint32_t>(1, at.depth / 2);
    at.batch_start = now;
    at.drained = 0;
  }
  void OnTakenBack(int pair, std::uint32_t count) {
    SHEAF_CHECK(At(pair).in_flight >= count);
    At(pair).in_flight -= count;
  }

  // How many workers are worth having for `outstanding` unfinished tasks.
  static std::uint32_t Want(std::uint64_t outstanding, std::uint32_t slots) {
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(outstanding, slots));
  }
  // Whether tasks that a worker has not begun should be taken back: it is stuck in one task (or in Get) while
  // another worker has nothing.
  bool ShouldRecall(int pair, std::int64_t now) const {
    const Pair& at = pairs_[static_cast<std::size_t>(pair)];
    if (!at.open || at.paused || at.in_flight < 1) return false;
    if (at.blocked) return true;
    if (at.in_flight < 2 || now - at.last_progress < kLongNanos) return false;
    for (int i = 0; i < size(); ++i) {
      const Pair& other = pairs_[static_cast<std::size_t>(i)];
      if (i != pair && other.open && !other.blocked && other.in_flight == 0) return true;
    }
    return false;
  }

 private:
  static bool Usable(const Pair& pair) {
    return pair.open && !pair.paused && !pair.full && !pair.blocked && pair.in_flight < pair.depth;
  }
  std::vector<Pair> pairs_;
  int last_ = kNone;
};

}  // namespace sheaf::runtime
