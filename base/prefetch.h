// Asks for a cache line before it is needed. Never faults, whatever the address.
#pragma once

namespace sheaf {

inline void PrefetchForReading(const void* line) { __builtin_prefetch(line); }

// Takes the line away from other cores. A store to a line that another core has read waits for it otherwise, and every
// locked instruction after the store waits with it. g++ turns __builtin_prefetch(line, 1) into a read without -mprfchw.
inline void PrefetchForWriting(const void* line) {
#if defined(__x86_64__)
  asm volatile("prefetchw %0" : : "m"(*static_cast<const char*>(line)));
#else
  __builtin_prefetch(line, 1);
#endif
}

}  // namespace sheaf
