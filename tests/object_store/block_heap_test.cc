#include "object_store/block_heap.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <set>
#include <vector>

namespace sheaf::store {
namespace {

// A pool that gives out private memory up to a budget.
class FakePool {
 public:
  explicit FakePool(std::uint64_t budget) : budget_(budget) {}
  BlockHeap::Make Make() {
    return [this](wire::SegmentKind kind, std::uint64_t bytes) -> OwnSegment {
      if (used + bytes > budget_) return {};
      used += bytes;
      ++made[kind];
      memory_.push_back(std::make_unique<std::byte[]>(bytes + 4096));
      auto* base = memory_.back().get();
      base += 4096 - reinterpret_cast<std::uintptr_t>(base) % 4096;
      return {next_++, base, bytes};
    };
  }
  BlockHeap::Drop Drop() {
    return [this](const OwnSegment& segment) {
      used -= segment.bytes;
      ++dropped;
    };
  }
  std::uint64_t used = 0;
  int dropped = 0;
  std::map<wire::SegmentKind, int> made;

 private:
  const std::uint64_t budget_;
  std::uint32_t next_ = 1;
  std::vector<std::unique_ptr<std::byte[]>> memory_;
};

TEST(BlockHeap, GivesAlignedBlocksThatDoNotOverlap) {
  FakePool pool(1ull << 30);
  BlockHeap heap(pool.Make(), pool.Drop());
  std::set<std::pair<std::byte*, std::byte*>> taken;
  for (std::uint64_t bytes = 1; bytes < 300'000; bytes = bytes * 5 / 3 + 1) {
    const OwnBlock block = heap.Allocate(bytes);
    ASSERT_NE(block.data, nullptr);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block.data) % 64, 0u);
    EXPECT_GE(block.capacity, bytes);
    EXPECT_LE(block.capacity, bytes < limits::kLargeBlockBytes ? bytes + bytes / 4 + 64 : bytes + 65536);
    std::memset(block.data, 1, bytes);
    for (const auto& [begin, end] : taken) EXPECT_TRUE(block.data >= end || block.data + bytes <= begin);
    taken.insert({block.data, block.data + bytes});
  }
}

TEST(BlockHeap, ReusesAFreedBlockOfTheSameClass) {
  FakePool pool(1 << 24);
  BlockHeap heap(pool.Make(), pool.Drop());
  const OwnBlock first = heap.Allocate(1000);
  heap.Free(first);
  EXPECT_EQ(heap.live_bytes(), 0u);
  EXPECT_EQ(heap.Allocate(990).data, first.data);
}

TEST(BlockHeap, ReusesALargeSegmentInsteadOfAskingForAnother) {
  FakePool pool(1 << 30);
  BlockHeap heap(pool.Make(), pool.Drop());
  for (int i = 0; i < 10; ++i) heap.Free(heap.Allocate(10 << 20));
  EXPECT_EQ(pool.made[wire::SegmentKind::kLarge], 1);
}

TEST(BlockHeap, GivesIdleSegmentsBackBeforeItReportsThatMemoryIsSpent) {
  FakePool pool(64 << 20);
  BlockHeap heap(pool.Make(), pool.Drop());
  heap.Free(heap.Allocate(40 << 20));
  const OwnBlock other = heap.Allocate(60 << 20);  // does not fit beside the idle one
  EXPECT_NE(other.data, nullptr);
  EXPECT_EQ(pool.dropped, 1);
}

TEST(BlockHeap, SaysSoWhenTheBudgetIsSpentAndRecoversWhenBlocksComeBack) {
  FakePool pool(8 << 20);
  BlockHeap heap(pool.Make(), pool.Drop());
  std::vector<OwnBlock> blocks;
  for (;;) {
    const OwnBlock block = heap.Allocate(1 << 20);
    if (!block.data) break;
    blocks.push_back(block);
  }
  EXPECT_EQ(blocks.size(), 8u);
  EXPECT_EQ(heap.Allocate(1ull << 60).data, nullptr);
  heap.Free(blocks.back());
  EXPECT_NE(heap.Allocate(1 << 20).data, nullptr);
}

}  // namespace
}  // namespace sheaf::store
