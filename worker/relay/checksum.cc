// Checksums as the processor at hand makes them fastest. Any thread; no state.
#include "worker/relay/checksum.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace sheaf::relay {

std::uint64_t Checksum(const void* bytes, std::size_t size) {
  static const bool wide = __builtin_cpu_supports("avx2");
  return wide ? ChecksumAvx2(bytes, size) : XXH3_64bits(bytes, size);
}

}  // namespace sheaf::relay
