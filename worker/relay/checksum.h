// Of bytes that travel between machines, and nothing else: errors, not forgers.
#pragma once

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cstdint>

namespace sheaf::relay {

// XXH3 with 64 bits (Y. Collet, xxHash specification, section "XXH3").
inline std::uint64_t Checksum(const void* bytes, std::size_t size) { return XXH3_64bits(bytes, size); }

}  // namespace sheaf::relay
