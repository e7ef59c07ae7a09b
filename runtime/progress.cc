#include "runtime/progress.h"

#include <sched.h>

#include "base/barrier.h"

namespace sheaf::runtime {

bool MaySpinLocked(Context& context) {
  Submitter& submitter = context.submitter();
  std::uint32_t busy = 1;
  for (int i = 0; i < submitter.core().size(); ++i)
    if (submitter.core().At(i).open && submitter.core().At(i).in_flight > 0) ++busy;
  return busy <= context.cores;
}

namespace detail_progress {

// The words before the wishes, the wishes before the look: whoever publishes after the look rings.
void BeginLocked(Context& context, const ObjectRoot* root, Until until, Sleep* sleep) {
  Submitter& submitter = context.submitter();
  sleep->words.clear();
  sleep->targets.clear();
  sleep->words.push_back({&context.page_bell(), context.page_bell().load(std::memory_order_acquire)});
  context.AddBell(*context.control(), &sleep->words);
  for (OutPair* pair : submitter.pairs())
    if (sleep->words.size() < 122) context.AddBell(*pair->control, &sleep->words);
  submitter.AddTargetsLocked(root, until == Until::kNext, &sleep->targets);
  FullBarrier();
  submitter.PumpLocked();
  ++submitter.local_sleepers;  // from here on, as nobody else has the lock: what this pump has found rings nobody
}

void End(Context& context, Sleep* sleep) {
  Submitter::Lock lock(context.submitter());
  --context.submitter().local_sleepers;
  context.submitter().RemoveTargetsLocked(sleep->targets);
  context.submitter().PumpLocked();
}

}  // namespace detail_progress

void EaseOff(Context& context) {
  constexpr std::int64_t kLimitNanos = 1'000'000;
  Submitter& submitter = context.submitter();
  // A worker on this CPU that waits for nothing but it goes on; what has become ready then may be enough.
  sched_yield();
  std::uint64_t before = 0;
  {
    Submitter::Lock lock(submitter);
    before = submitter.backlog_size();
    submitter.PumpLocked();
    if (submitter.backlog_size() <= Submitter::kBacklogEasy * 7 / 8) {
      submitter.EasedLocked(before);
      return;
    }
  }
  context.waiting_threads.fetch_add(1, std::memory_order_release);
  AwaitProgress(context, nullptr, Until::kHalf, kLimitNanos,
                [&] { return submitter.backlog_size() <= Submitter::kBacklogEasy / 2; });
  context.waiting_threads.fetch_sub(1, std::memory_order_release);
  Submitter::Lock lock(submitter);
  submitter.EasedLocked(before);
}

}  // namespace sheaf::runtime
