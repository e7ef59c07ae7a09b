// Every bound of the system in one place, with its sums.
#pragma once

#include <cstdint>

namespace sheaf::limits {

inline constexpr std::uint32_t kClientIndexBits = 12;
inline constexpr std::uint32_t kClientsMax = 1u << kClientIndexBits;  // live or not yet forgotten clients of a pool
inline constexpr std::uint32_t kPairsMax = 120;       // rings a client may lend or serve; one futex_waitv sees them all
inline constexpr std::uint32_t kPairsSpare = 6;       // beyond the pool's slots: nested submitters, blocked workers
inline constexpr std::uint32_t kRelaysSpare = 16;     // and in a cluster: relays to other pools
inline constexpr std::uint32_t kHeirsMax = 65536;     // objects of a job's dead clients that others make again
inline constexpr std::uint32_t kLineageMax = 4096;    // values of a client whose tasks may have to run again
inline constexpr std::uint32_t kShapesMax = 16;       // different needs among a client's tasks, no needs included
inline constexpr std::uint32_t kJobShapesMax = 64;    // the same of all clients of a job
inline constexpr std::uint32_t kLaneDepth = 1024;     // tasks in flight from one submitter to one worker
inline constexpr std::uint32_t kUrgentDepth = 64;     // the same for retries and recalled children
inline constexpr std::uint32_t kReleaseDepth = 2048;  // result records given back, not yet read
inline constexpr std::uint32_t kKeptDepth = 1024;     // borrows ended, not yet read
inline constexpr std::uint32_t kPayloadInline = 48;   // bytes of a value that need no block
inline constexpr std::uint32_t kArgumentsInline = 104;  // bytes of dependencies and arguments that need no block
inline constexpr std::uint32_t kSlabsMax = 255;         // slabs of home slots a client may own
inline constexpr std::uint32_t kSlabSlotsMax = 65536;
inline constexpr std::uint32_t kAwayFirst = 16384;  // segments with memory that a client may own during its life
inline constexpr std::uint32_t kSegmentsMax = kAwayFirst + 131072;  // and those of blocks that lie elsewhere at first
inline constexpr std::uint32_t kAwayMax = 65536;                    // of the latter, that a client has at once
inline constexpr std::uint32_t kAwayWaitersMax = 4096;              // who wait for the bytes of one of them
inline constexpr std::uint32_t kAwayChainMax = 64;                  // how often one stands in for another
inline constexpr std::uint64_t kSegmentBytesMax = 1ull << 40;
inline constexpr std::uint64_t kLargeBlockBytes = 256 * 1024;  // from here on a block has a segment of its own
inline constexpr std::uint64_t kStoreBytesMin = 64ull << 20;   // of a pool that a user starts
inline constexpr std::uint32_t kWireBytesMax = 65536;          // one message on the pool's socket
inline constexpr std::uint32_t kExtraWorkersMax = 64;          // workers beyond the slots, while others are blocked
inline constexpr std::uint32_t kRecursionStackReserve = 256 * 1024;  // inline runs stop at this much stack left

static_assert((kLaneDepth & (kLaneDepth - 1)) == 0 && (kUrgentDepth & (kUrgentDepth - 1)) == 0);
static_assert(kPairsMax + 2 <= 128, "futex_waitv takes 128 words: every peer's bell and the pool's");

// The slots of slab k: small first, so that a worker that never submits costs little.
constexpr std::uint32_t SlabSlots(std::uint32_t slab) {
  return slab == 0 ? 1024 : slab == 1 ? 4096 : slab == 2 ? 16384 : kSlabSlotsMax;
}

}  // namespace sheaf::limits
