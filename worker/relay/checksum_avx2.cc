// Compiled for AVX2, and called on processors that have it only. Nothing but the static functions of xxhash.h may be included
// here: an inline function of any other header could be taken by the linker for the rest of the program.
#include "worker/relay/checksum.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace sheaf::relay {

std::uint64_t ChecksumAvx2(const void* bytes, std::size_t size) { return XXH3_64bits(bytes, size); }

}  // namespace sheaf::relay
