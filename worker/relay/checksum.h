// Of bytes that travel between machines, and nothing else: errors, not forgers. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sheaf::relay {

// XXH3 with 64 bits (Y. Collet, xxHash specification, section "XXH3"): the same value on every processor.
std::uint64_t Checksum(const void* bytes, std::size_t size);

// The same on processors with AVX2 (checksum_avx2.cc), in half of the time.
std::uint64_t ChecksumAvx2(const void* bytes, std::size_t size);

}  // namespace sheaf::relay
