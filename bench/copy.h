// Fill large memory from large memory as fast as a core can: streaming stores, which do not read the
// destination first. glibc's memcpy does the same from some size on that differs between machines; the
// benchmarks fill and copy with this one, so that a put and its limit differ in the store alone.
#pragma once

#include <cstddef>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace bench {

#if defined(__x86_64__)
// `to` 64-byte aligned, `bytes` a multiple of 64.
__attribute__((target("avx"))) inline void StreamAvx(char* to, const char* from, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; i += 64) {
    const auto low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i));
    const auto high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i + 32));
    _mm256_stream_si256(reinterpret_cast<__m256i*>(to + i), low);
    _mm256_stream_si256(reinterpret_cast<__m256i*>(to + i + 32), high);
  }
  _mm_sfence();
}
#endif

inline void StreamCopy(void* to, const void* from, std::size_t bytes) {
#if defined(__x86_64__)
  const auto misaligned = reinterpret_cast<std::size_t>(to) % 64;
  if (__builtin_cpu_supports("avx") && misaligned == 0 && bytes % 64 == 0) {
    StreamAvx(static_cast<char*>(to), static_cast<const char*>(from), bytes);
    return;
  }
#endif
  std::memcpy(to, from, bytes);
}

}  // namespace bench
