// Sleeping until workers have finished something: shared by Get, Completions, Submit and the helper thread.
#pragma once

#include <cstdint>

#include "runtime/context.h"

namespace sheaf::runtime {

// What should end a sleep.
enum class Until {
  kObject,  // the given object's result; while it is not with a worker, as kHalf
  kNext,    // the next result of any worker
  kHalf,    // a worker has done half of what it has
};

// About what a wake-up costs both sides: so long a look is cheaper than a sleep.
inline constexpr std::int64_t kSpinNanos = 40'000;
inline constexpr std::int64_t kSpinElsewhereNanos =
    150'000;  // a round trip to another machine; others get the CPU meanwhile
// Whether spinning takes a core from those who work: the busy workers, and this thread. The submitter's lock is held.
bool MaySpinLocked(Context& context);

// Pumps, sleeps at most once and at most for `limit` nanoseconds, pumps again. `enough`, called under the submitter's lock
// once this thread can be rung, may say that there is no need to sleep. Returns at once if the pool is lost.
template <class Enough>
void AwaitProgress(Context& context, const ObjectRoot* root, Until until, std::int64_t limit, Enough enough);

// A driver whose short tasks pile up lets the workers catch up: at most a millisecond, and not if that has not helped.
// What waits stays small enough for the caches, and on a busy machine the workers get the submitter's core.
void EaseOff(Context& context);

namespace detail_progress {
struct Sleep {
  std::vector<FutexWord> words;
  std::vector<std::pair<Lane*, std::uint64_t>> targets;
};
void BeginLocked(Context& context, const ObjectRoot* root, Until until, Sleep* sleep);
void End(Context& context, Sleep* sleep);
}  // namespace detail_progress

template <class Enough>
void AwaitProgress(Context& context, const ObjectRoot* root, Until until, std::int64_t limit, Enough enough) {
  detail_progress::Sleep sleep;
  bool stay = false;
  {
    Submitter::Lock lock(context.submitter());
    detail_progress::BeginLocked(context, root, until, &sleep);
    stay = !enough() && !context.pool_lost();
  }
  if (stay) FutexWaitAny(sleep.words, std::chrono::nanoseconds(limit));
  detail_progress::End(context, &sleep);
}

}  // namespace sheaf::runtime
