// Array and ArrayBuilder: handles on shared memory, and the stored form that they share with vectors.
#include <gtest/gtest.h>

#include <numeric>

#include "sheaf/sheaf.h"
#include "tests/support/in_process_abi.h"

namespace sheaf {
namespace {

Array<int> Count(std::size_t n) {
  ArrayBuilder<int> builder(n);
  std::iota(builder.span().begin(), builder.span().end(), 0);
  return std::move(builder).Seal();
}

TEST(Array, IsBuiltInPlaceAndNeverCopied) {
  const Array<int> array = Count(100);
  const int* const data = array.data();
  const Array<int> copy = array;
  EXPECT_EQ(copy.data(), data);
  const Array<int> got = Put(array).Get();
  EXPECT_EQ(got.data(), data);
  EXPECT_EQ(copy[99], 99);
}

TEST(Array, ItsMemoryIsFreedWithTheLastHandle) {
  const auto blocks = in_process::LiveBlocks();
  ObjectRef<Array<int>> ref;
  {
    ref = Put(Count(100));
  }
  EXPECT_EQ(in_process::LiveBlocks(), blocks + 1);
  Array<int> array = ref.Get();
  ref = {};
  EXPECT_EQ(array[7], 7);
  array = {};
  EXPECT_EQ(in_process::LiveBlocks(), blocks);
}

TEST(Array, AnUnsealedBuilderGivesItsMemoryBack) {
  const auto blocks = in_process::LiveBlocks();
  {
    ArrayBuilder<double> builder(1000);
  }
  EXPECT_EQ(in_process::LiveBlocks(), blocks);
}

TEST(Array, SharesItsFormWithVectorsAndStrings) {
  const std::vector<float> small{1, 2, 3}, large(1000, 4.f);
  for (const auto& list : {small, large}) {
    const Array<float> array = Put(list).As<Array<float>>().Get();
    EXPECT_EQ(std::vector<float>(array.data(), array.data() + array.size()), list);
    EXPECT_EQ(Put(array).As<std::vector<float>>().Get(), list);
    EXPECT_EQ(Put(std::span<const float>(list)).As<std::vector<float>>().Get(), list);
  }
  EXPECT_EQ(Put("literal").Get(), "literal");
  EXPECT_EQ(Put(std::string_view("view")).As<Array<char>>().Get().size(), 4u);
}

TEST(Array, ASmallListIsViewedInsideItsObject) {
  const auto blocks = in_process::LiveBlocks();
  auto ref = Put(std::vector<double>{1, 2});
  const Array<double> array = ref.As<Array<double>>().Get();
  EXPECT_EQ(in_process::LiveBlocks(), blocks) << "1 KiB and less needs no block";
  ref = {};
  EXPECT_EQ(array[1], 2) << "the handle keeps the object";
  const auto again = Put(array);
  EXPECT_EQ(again.Get()[0], 1) << "and is sent on by copying";
}

TEST(Array, ASliceSharesTheMemory) {
  const Array<int> array = Count(1000);
  const Array<int> slice = array.Slice(200, 300);
  EXPECT_EQ(slice.data(), array.data() + 200);
  const Array<int> back = Put(slice).Get();
  EXPECT_EQ(back.data(), slice.data());
  EXPECT_EQ(back.size(), 100u);
  EXPECT_EQ(array.Slice(5, 5).size(), 0u);
  EXPECT_THROW(array.Slice(900, 1001), Error);
  EXPECT_THROW(array.Slice(2, 1), Error);
}

TEST(Array, EmptyArraysNeedNoMemory) {
  const auto blocks = in_process::LiveBlocks();
  const Array<int> empty = ArrayBuilder<int>(0).Seal();
  EXPECT_TRUE(empty.empty());
  EXPECT_TRUE(Put(empty).Get().empty());
  EXPECT_TRUE(Put(std::vector<int>()).As<Array<int>>().Get().empty());
  EXPECT_EQ(in_process::LiveBlocks(), blocks);
}

TEST(Array, CopyTakesTheValuesThatItIsGiven) {
  const std::vector<int> values{3, 1, 4};
  EXPECT_EQ(Array<int>::Copy(values)[2], 4);
  const Array<int> filled = ArrayBuilder<int>(5, 7).Seal();
  EXPECT_EQ(filled[4], 7);
}

TEST(Array, AnImpossibleSizeIsOutOfMemory) {
  EXPECT_THROW(ArrayBuilder<double>(SIZE_MAX / 4), OutOfMemoryError);
  EXPECT_THROW(ArrayBuilder<double>(std::size_t{1} << 40), OutOfMemoryError);
}

TEST(Array, OveralignedElementsAlwaysGetABlock) {
  struct alignas(64) Line {
    int word;
  };
  const std::vector<Line> lines{{1}, {2}};
  const Array<Line> array = Put(lines).As<Array<Line>>().Get();
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(array.data()) % 64, 0u);
  EXPECT_EQ(array[1].word, 2);
}

TEST(Array, ABlockShorterThanItsListIsRefused) {
  auto payload = in_process::PayloadOf(detail::RefAccess::Core(Put(Count(1000))));
  payload[4 + 1 + 7] = std::byte{1};  // the highest byte of the count
  EXPECT_THROW(detail::RefAccess::Make<Array<int>>(in_process::MakeObject(payload)).Get(), FormatError);
}

}  // namespace
}  // namespace sheaf
