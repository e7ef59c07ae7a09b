// Futexes across processes. Waiting and waking work through read-only mappings.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <span>

namespace sheaf {

void FutexWakeAll(const std::atomic<std::uint32_t>& word);

struct FutexWord {
  const std::atomic<std::uint32_t>* word;
  std::uint32_t seen;  // sleep only while the word still has this value
};
// Sleeps until one of the words (at most 128) is woken or differs, or until the timeout. May return early.
void FutexWaitAny(std::span<const FutexWord> words, std::chrono::nanoseconds timeout);

}  // namespace sheaf
