#include "sheaf/ml/tensor.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "sheaf/ml/weights.h"
#include "sheaf/remote.h"

namespace sheaf::ml {
namespace {

Tensor Counting(Shape shape) {
  TensorBuilder builder(DType::kF32, std::move(shape));
  const auto room = builder.span<float>();
  std::iota(room.begin(), room.end(), 0.0f);
  return std::move(builder).Seal();
}

TEST(Tensor, SliceIsAViewOfTheSameBytes) {
  const Tensor tensor = Counting({4, 3});
  const Tensor rows = tensor.Slice(1, 3);
  EXPECT_EQ(rows.shape(), (Shape{2, 3}));
  EXPECT_EQ(rows.span<float>().data(), tensor.span<float>().data() + 3);
  EXPECT_EQ(rows.span<float>()[5], 8);
  const Tensor row = rows.Slice(1, 2);
  EXPECT_EQ(row.view<float>()(0, 2), 8);
  EXPECT_EQ(tensor.Slice(4, 4).size(), 0u);
  EXPECT_THROW(tensor.Slice(3, 5), Error);
  EXPECT_THROW(tensor.Slice(2, 1), Error);
  EXPECT_THROW(Counting({}).Slice(0, 0), Error);
}

TEST(Tensor, TransposeIsAViewThatSpanRefuses) {
  const Tensor tensor = Counting({2, 3});
  const Tensor turned = tensor.Transpose(0, 1);
  EXPECT_EQ(turned.shape(), (Shape{3, 2}));
  EXPECT_FALSE(turned.contiguous());
  EXPECT_EQ(turned.view<float>()(2, 1), 5);
  EXPECT_THROW(turned.span<float>(), Error);
  EXPECT_THROW(turned.Reshape({6}), Error);
  const Tensor slice = turned.Slice(1, 3);
  EXPECT_EQ(slice.view<float>()(0, 1), 4);
  EXPECT_THROW(tensor.Transpose(0, 2), Error);
}

TEST(Tensor, ReshapeKeepsTheOrder) {
  const Tensor tensor = Counting({2, 6});
  const Tensor cube = tensor.Reshape({3, 2, 2});
  EXPECT_EQ(cube.view<float>()(2, 1, 1), 11);
  EXPECT_THROW(tensor.Reshape({5}), Error);
}

TEST(Tensor, RefusesTheWrongElementTypeAndSize) {
  const Tensor tensor = Counting({4});
  EXPECT_THROW(tensor.span<double>(), Error);
  EXPECT_THROW(Tensor(DType::kF64, {4}, ArrayBuilder<std::byte>(31).Seal()), Error);
  const std::vector<float> three(3);
  EXPECT_THROW(Tensor::Copy<float>({2, 2}, three), Error);
  EXPECT_THROW(TensorBuilder(DType::kF32, {-1}), Error);
  EXPECT_THROW(TensorBuilder(DType::kF64, {1ll << 62}), Error);
}

TEST(Tensor, TravelsThroughTheStoreWithItsDescription) {
  const Tensor sent = Counting({4, 3}).Slice(1, 4).Transpose(0, 1);
  const auto ref = Put(sent);
  const Tensor got = ref.Get();
  EXPECT_EQ(got.shape(), sent.shape());
  EXPECT_EQ(got.view<float>()(2, 2), 11);
  EXPECT_EQ(got.view<float>().data(), sent.view<float>().data());
}

TEST(Tensor, ADamagedDescriptionIsAnErrorNotARead) {
  // As if another process had written it: the fields are set behind the constructor's back.
  const auto damage = [](std::size_t which, std::int64_t value) {
    Tensor tensor = Counting({4, 3});
    auto fields = Tensor::Fields(tensor);
    if (which == 0) std::get<2>(fields)[0] = value;
    if (which == 1) std::get<3>(fields)[0] = value;
    if (which == 2) std::get<4>(fields) = value;
    if (which == 3) std::get<3>(fields).pop_back();
    if (which == 4) std::get<1>(fields) = static_cast<DType>(200);
    return tensor;
  };
  for (std::size_t which = 0; which < 5; ++which) {
    for (const std::int64_t value : {std::int64_t{-1}, std::int64_t{1000}, INT64_MAX, INT64_MIN}) {
      const Tensor damaged = damage(which, value);
      EXPECT_THROW(damaged.view<float>(), Error) << which << " " << value;
    }
  }
}

TEST(Weights, BuilderLaysFloatsOutFlatAndAligned) {
  WeightsBuilder builder({{"w", DType::kF32, {2, 2}}, {"b", DType::kF32, {3}}});
  ASSERT_EQ(builder.Flat().size(), 7u);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(builder.Flat().data()) % 64, 0u);
  std::iota(builder.Flat().begin(), builder.Flat().end(), 0.0f);
  builder.span<float>("b")[0] = 40;
  EXPECT_THROW(builder.span<double>("b"), Error);
  EXPECT_THROW(builder.span<float>("missing"), Error);
  const Weights weights = std::move(builder).Seal();
  EXPECT_EQ(weights.Flat()[4], 40);
  const Tensor b = weights["b"];
  EXPECT_EQ(b.span<float>()[0], 40);
  EXPECT_TRUE(weights.Contains("w"));
  EXPECT_FALSE(weights.Contains("v"));
  try {
    weights["v"];
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("w, b"), std::string::npos) << error.what();
  }
}

TEST(Weights, ABuilderLikeOthersHasTheirLayoutAndTheirIntegers) {
  WeightsBuilder first({{"w", DType::kF32, {2}}, {"steps", DType::kI64, {1}}, {"flags", DType::kU8, {3}}},
                       {{"a", "b"}});
  first.span<std::int64_t>("steps")[0] = 77;
  for (auto& flag : first.span<std::uint8_t>("flags")) flag = 9;
  for (auto& value : first.Flat()) value = 1;
  const Weights weights = std::move(first).Seal();
  WeightsBuilder second(weights);
  for (auto& value : second.Flat()) value = 2;
  const Weights next = std::move(second).Seal();
  EXPECT_EQ(next.Specs(), weights.Specs());
  EXPECT_EQ(next.Metadata(), weights.Metadata());
  const Tensor steps = next["steps"], flags = next["flags"];
  EXPECT_EQ(steps.span<std::int64_t>()[0], 77);
  EXPECT_EQ(flags.span<std::uint8_t>()[2], 9);
  EXPECT_EQ(next.Flat()[1], 2);
  EXPECT_EQ(weights.Flat()[1], 1);
}

TEST(Weights, NoTensorsAreNoError) {
  const Weights none;
  EXPECT_TRUE(none.Flat().empty());
  EXPECT_TRUE(none.Specs().empty());
  WeightsBuilder builder(none);
  EXPECT_TRUE(builder.Flat().empty());
  EXPECT_TRUE(std::move(builder).Seal().empty());
  EXPECT_TRUE(Put(none).Get().empty());
}

TEST(Weights, TravelThroughTheStoreInPlace) {
  WeightsBuilder builder({{"w", DType::kF32, {1000}}});
  std::iota(builder.Flat().begin(), builder.Flat().end(), 0.0f);
  const Weights weights = std::move(builder).Seal();
  const Weights got = Put(weights).Get();
  EXPECT_EQ(got.Flat().data(), weights.Flat().data());
  EXPECT_EQ(got.Flat()[999], 999);
}

TEST(Weights, DamagedOffsetsAreErrorsNotReads) {
  WeightsBuilder builder({{"w", DType::kF32, {8}}});
  const Weights good = std::move(builder).Seal();
  for (const std::uint64_t offset : {std::uint64_t{1} << 40, ~std::uint64_t{0}, ~std::uint64_t{0} - 3}) {
    Weights bad = good;
    std::get<1>(Weights::Fields(bad)) = offset;
    EXPECT_THROW(bad.Flat(), Error);
  }
  Weights bad = good;
  std::get<2>(Weights::Fields(bad)) = ~std::uint64_t{0} / 4;
  EXPECT_THROW(bad.Flat(), Error);
}

}  // namespace
}  // namespace sheaf::ml
