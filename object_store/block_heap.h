// The private allocator over this process's own segments: no byte of its bookkeeping lies in shared memory.
//
// Small and medium blocks come from arenas in size classes and are reused warm; from kLargeBlockBytes on a block has a segment of its
// own, kept for reuse (writing warm pages is nine times faster than writing fresh ones). All blocks are 64-byte
// aligned, large ones page aligned. Thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <vector>

#include "base/limits.h"
#include "object_store/mapping.h"
#include "object_store/segment_layout.h"
#include "proto/local_wire.h"

namespace sheaf::store {

struct OwnSegment {
  std::uint32_t segment = 0;
  std::byte* base = nullptr;  // nullptr: the pool refused
  std::uint64_t bytes = 0;
};

struct OwnBlock {
  std::byte* data = nullptr;  // nullptr: no memory
  std::uint32_t segment = 0;
  std::uint64_t offset = 0;
  std::uint64_t capacity = 0;  // what Free must be given
};

class BlockHeap {
 public:
  // `make` asks the pool for a mapped, writable segment; `drop` gives a large one back.
  using Make = std::function<OwnSegment(wire::SegmentKind, std::uint64_t bytes)>;
  using Drop = std::function<void(const OwnSegment&)>;
  BlockHeap(Make make, Drop drop) : make_(std::move(make)), drop_(std::move(drop)) {}

  void AddArena(const OwnSegment& segment);
  OwnBlock Allocate(std::uint64_t bytes);
  void Free(const OwnBlock& block);

  void DropIdle();  // gives back what is kept for later

  std::uint64_t live_bytes() const;  // capacities handed out and not yet freed
  std::uint64_t segment_bytes() const;

 private:
  static constexpr int kClasses = 64;
  static int ClassOf(std::uint64_t bytes);
  static std::uint64_t ClassBytes(int size_class);
  OwnBlock AllocateLarge(std::uint64_t bytes);
  void DropIdleLarge();

  Make make_;
  Drop drop_;
  mutable std::mutex mutex_;
  std::vector<OwnSegment> arenas_;
  std::uint64_t bump_ = 0;  // in arenas_.back()
  std::uint64_t next_arena_ = 1 << 20;
  std::vector<OwnBlock> free_[kClasses];
  std::multimap<std::uint64_t, OwnSegment> idle_large_;  // by size
  std::map<std::uint32_t, OwnSegment> live_large_;       // by segment index
  std::uint64_t live_bytes_ = 0, segment_bytes_ = 0;
};

}  // namespace sheaf::store
