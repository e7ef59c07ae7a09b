#include "base/futex.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <climits>

namespace sheaf {
namespace {

timespec Deadline(std::chrono::nanoseconds timeout) {
  timespec at{};
  clock_gettime(CLOCK_MONOTONIC, &at);
  const auto capped = std::min<std::chrono::nanoseconds>(timeout, std::chrono::hours(24));
  const std::int64_t total = at.tv_nsec + capped.count();
  at.tv_sec += total / 1'000'000'000;
  at.tv_nsec = total % 1'000'000'000;
  return at;
}

}  // namespace

void FutexWakeAll(const std::atomic<std::uint32_t>& word) {
  syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

void FutexWaitAny(std::span<const FutexWord> words, std::chrono::nanoseconds timeout) {
  if (timeout.count() <= 0) return;
  futex_waitv waiters[FUTEX_WAITV_MAX];
  const std::size_t count = std::min<std::size_t>(words.size(), FUTEX_WAITV_MAX);
  for (std::size_t i = 0; i < count; ++i) {
    waiters[i] = {};
    waiters[i].val = words[i].seen;
    waiters[i].uaddr = reinterpret_cast<std::uintptr_t>(words[i].word);
    waiters[i].flags = FUTEX_32;
  }
  const timespec at = Deadline(timeout);
  syscall(SYS_futex_waitv, waiters, count, 0, &at, CLOCK_MONOTONIC);
}

}  // namespace sheaf
