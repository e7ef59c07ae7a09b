// The store-load barrier of every "publish, then look whether somebody sleeps" in this system (Dekker's pattern).
#pragma once

#include <atomic>
#include <cstdint>

namespace sheaf {

#if defined(__SANITIZE_THREAD__)
#define SHEAF_THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SHEAF_THREAD_SANITIZER 1
#endif
#endif

inline void FullBarrier() {
#ifdef SHEAF_THREAD_SANITIZER
  // ThreadSanitizer knows no fences. A locked instruction is the same barrier on the machines it runs on.
  thread_local std::atomic<std::uint32_t> word{0};
  word.fetch_add(1, std::memory_order_seq_cst);
#else
  std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
}

inline void CpuRelax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::atomic_signal_fence(std::memory_order_seq_cst);
#endif
}

}  // namespace sheaf
