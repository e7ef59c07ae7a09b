#include "object_store/block_heap.h"

#include <algorithm>
#include <bit>

#include "base/check.h"

namespace sheaf::store {

// Up to 1 KiB in steps of 64, then four classes to each power of two: at most a quarter of a block is lost.
int BlockHeap::ClassOf(std::uint64_t bytes) {
  if (bytes <= 1024) return bytes == 0 ? 0 : static_cast<int>((bytes - 1) / 64);
  const int power = std::bit_width(bytes - 1) - 1;  // 2^power < bytes <= 2^(power+1)
  const std::uint64_t step = std::uint64_t{1} << (power - 2);
  const int quarter = static_cast<int>((bytes - 1 - (std::uint64_t{1} << power)) / step);
  return 16 + (power - 10) * 4 + quarter;
}

std::uint64_t BlockHeap::ClassBytes(int size_class) {
  if (size_class < 16) return static_cast<std::uint64_t>(size_class + 1) * 64;
  const int power = 10 + (size_class - 16) / 4;
  const std::uint64_t quarter = static_cast<std::uint64_t>((size_class - 16) % 4);
  return (std::uint64_t{1} << power) + (quarter + 1) * (std::uint64_t{1} << (power - 2));
}

void BlockHeap::AddArena(const OwnSegment& segment) {
  std::lock_guard lock(mutex_);
  arenas_.push_back(segment);
  bump_ = 0;
  segment_bytes_ += segment.bytes;
}

OwnBlock BlockHeap::Allocate(std::uint64_t bytes) {
  std::lock_guard lock(mutex_);
  if (bytes >= limits::kLargeBlockBytes) return AllocateLarge(bytes);
  const int size_class = ClassOf(bytes);
  SHEAF_CHECK(size_class < kClasses);
  const std::uint64_t capacity = ClassBytes(size_class);
  auto& free = free_[size_class];
  if (!free.empty()) {
    const OwnBlock block = free.back();
    free.pop_back();
    live_bytes_ += capacity;
    return block;
  }
  if (arenas_.empty() || bump_ + capacity > arenas_.back().bytes) {
    // The rest of the old arena is lost to bumping; it is less than one block of this class.
    OwnSegment segment = make_(wire::SegmentKind::kArena, next_arena_);
    if (!segment.base) {
      DropIdleLarge();
      segment = make_(wire::SegmentKind::kArena, std::max<std::uint64_t>(AlignUp(capacity, 4096), 65536));
    }
    if (!segment.base) return {};
    next_arena_ = std::min<std::uint64_t>(next_arena_ * 2, 64 << 20);
    arenas_.push_back(segment);
    bump_ = 0;
    segment_bytes_ += segment.bytes;
  }
  const OwnSegment& arena = arenas_.back();
  const OwnBlock block{arena.base + bump_, arena.segment, bump_, capacity};
  bump_ += capacity;
  live_bytes_ += capacity;
  return block;
}

OwnBlock BlockHeap::AllocateLarge(std::uint64_t bytes) {
  if (bytes > limits::kSegmentBytesMax) return {};
  const std::uint64_t rounded = AlignUp(bytes, 65536);
  OwnSegment segment;
  const auto fit = idle_large_.lower_bound(rounded);
  if (fit != idle_large_.end() && fit->first <= rounded + rounded / 4 + (1 << 20)) {
    segment = fit->second;
    idle_large_.erase(fit);
  } else {
    segment = make_(wire::SegmentKind::kLarge, rounded);
    if (!segment.base && !idle_large_.empty()) {
      DropIdleLarge();
      segment = make_(wire::SegmentKind::kLarge, rounded);
    }
    if (!segment.base) return {};
    segment_bytes_ += segment.bytes;
  }
  live_large_[segment.segment] = segment;
  live_bytes_ += segment.bytes;
  return {segment.base, segment.segment, 0, segment.bytes};
}

void BlockHeap::Free(const OwnBlock& block) {
  std::lock_guard lock(mutex_);
  SHEAF_CHECK(live_bytes_ >= block.capacity);
  live_bytes_ -= block.capacity;
  const auto large = live_large_.find(block.segment);
  if (large != live_large_.end()) {
    idle_large_.emplace(large->second.bytes, large->second);
    live_large_.erase(large);
    // Keep what a steady loop needs, not a history: idle memory beyond four times the live is given back.
    std::uint64_t idle = 0;
    for (const auto& [bytes, segment] : idle_large_) idle += bytes;
    const std::uint64_t keep = std::max<std::uint64_t>(live_bytes_ * 4, 1ull << 30);
    while (idle > keep) {
      const auto biggest = std::prev(idle_large_.end());
      idle -= biggest->first;
      segment_bytes_ -= biggest->first;
      drop_(biggest->second);
      idle_large_.erase(biggest);
    }
    return;
  }
  free_[ClassOf(block.capacity)].push_back(block);
}

void BlockHeap::DropIdle() {
  std::lock_guard lock(mutex_);
  DropIdleLarge();
}

void BlockHeap::DropIdleLarge() {
  for (const auto& [bytes, segment] : idle_large_) {
    segment_bytes_ -= bytes;
    drop_(segment);
  }
  idle_large_.clear();
}

std::uint64_t BlockHeap::live_bytes() const {
  std::lock_guard lock(mutex_);
  return live_bytes_;
}

std::uint64_t BlockHeap::segment_bytes() const {
  std::lock_guard lock(mutex_);
  return segment_bytes_;
}

}  // namespace sheaf::store
