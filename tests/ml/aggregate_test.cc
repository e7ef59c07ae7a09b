#include "sheaf/ml/aggregate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "sheaf/completions.h"
#include "sheaf/object_ref.h"

namespace sheaf::ml {
namespace {

struct Gradient {
  Array<float> g;
  double loss = 0;
};
struct Report {
  Gradient gradient;
  float accuracy = 0;
  Weights weights;
};

Weights Filled(float value, std::int64_t size = 100) {
  WeightsBuilder builder({{"w", DType::kF32, {size}}, {"m", DType::kF64, {2}}, {"steps", DType::kI64, {1}}});
  for (float& x : builder.Flat()) x = value;
  for (double& x : builder.span<double>("m")) x = 2 * static_cast<double>(value);
  builder.span<std::int64_t>("steps")[0] = static_cast<std::int64_t>(value);
  return std::move(builder).Seal();
}
Gradient Filled(std::size_t size, float value, double loss) {
  ArrayBuilder<float> builder(size, value);
  return {std::move(builder).Seal(), loss};
}

TEST(Aggregate, MeanOfWeightsStaysInTheStore) {
  const std::vector<ObjectRef<Weights>> refs = {Put(Filled(1)), Put(Filled(2)), Put(Filled(6))};
  const Weights mean = Aggregate(refs).Get();
  EXPECT_EQ(mean.Flat()[99], 9.0f * (1.0f / 3.0f));
  const Tensor m = mean["m"], steps = mean["steps"];
  EXPECT_DOUBLE_EQ(m.span<double>()[1], 6);
  EXPECT_EQ(steps.span<std::int64_t>()[0], 1);  // of the first: integers have no mean
}

TEST(Aggregate, WeightedMeanDividesByTheSum) {
  const std::vector<ObjectRef<Gradient>> refs = {Put(Filled(5, 1, 10)), Put(Filled(5, 5, 20))};
  const Gradient mean = Aggregate(refs, WeightedMean{{3, 1}}).Get();
  EXPECT_FLOAT_EQ(mean.g[4], 2);
  EXPECT_DOUBLE_EQ(mean.loss, 12.5);
}

TEST(Aggregate, UserStructsAreCombinedFieldByField) {
  const std::vector<ObjectRef<Report>> refs = {Put(Report{Filled(3, 1, 1), 0.5f, Filled(2)}),
                                               Put(Report{Filled(3, 3, 2), 0.7f, Filled(4)})};
  const Report mean = Aggregate(refs).Get();
  EXPECT_FLOAT_EQ(mean.gradient.g[2], 2);
  EXPECT_DOUBLE_EQ(mean.gradient.loss, 1.5);
  EXPECT_FLOAT_EQ(mean.accuracy, 0.6f);
  EXPECT_FLOAT_EQ(mean.weights.Flat()[0], 3);
}

TEST(Aggregate, ScalarsAndArraysAggregateByThemselves) {
  EXPECT_DOUBLE_EQ(Aggregate(std::vector{Put(1.0), Put(2.0)}).Get(), 1.5);
  EXPECT_FLOAT_EQ(Aggregate(std::vector{Put(1.0f), Put(4.0f)}, WeightedMean{{1, 2}}).Get(), 3.0f);
  const std::vector<ObjectRef<Array<double>>> refs = {Put(ArrayBuilder<double>(3, 1.0).Seal()),
                                                      Put(ArrayBuilder<double>(3, 2.0).Seal())};
  EXPECT_DOUBLE_EQ(Aggregate(refs).Get()[2], 1.5);
}

TEST(Aggregate, SumsByRankSoThatOrderOfRefsAloneDecidesTheBits) {
  // In float32, (1e8 + 1) - 1e8 is not 1e8 - 1e8 + 1.
  const auto sum_of = [](std::vector<float> values) {
    std::vector<ObjectRef<Gradient>> refs;
    for (const float value : values) refs.push_back(Put(Filled(40, value, 0)));
    return Aggregate(refs).Get().g[39];
  };
  const float third = 1.0f / 3.0f;
  EXPECT_EQ(sum_of({1e8f, 1, -1e8f}), (1e8f + 1 - 1e8f) * third);
  EXPECT_EQ(sum_of({1e8f, -1e8f, 1}), 1.0f * third);
  EXPECT_NE(sum_of({1e8f, 1, -1e8f}), sum_of({1e8f, -1e8f, 1}));
}

TEST(Aggregate, OneUpdateIsItself) { EXPECT_EQ(Aggregate(std::vector{Put(Filled(10, 0.1f, 3))}).Get().g[9], 0.1f); }

TEST(Aggregate, RefusesNothingAndWeightsThatDoNotFit) {
  const std::vector<ObjectRef<Gradient>> none, two = {Put(Filled(2, 1, 1)), Put(Filled(2, 2, 2))};
  EXPECT_THROW(Aggregate(none), Error);
  EXPECT_THROW(Aggregate(two, WeightedMean{{1}}), Error);
  EXPECT_THROW(Aggregate(two, WeightedMean{{1, -1}}), Error);
  EXPECT_THROW(Aggregate(two, WeightedMean{{0, 0}}), Error);
  EXPECT_THROW(Aggregate(two, WeightedMean{{1, std::nan("")}}), Error);
  EXPECT_THROW(Aggregate(two, WeightedMean{{1, std::numeric_limits<double>::infinity()}}), Error);
}

TEST(Aggregate, UpdatesOfDifferentSizesFailAtGet) {
  EXPECT_THROW(Aggregate(std::vector{Put(Filled(2, 1, 1)), Put(Filled(3, 2, 2))}).Get(), Error);
  EXPECT_THROW(Aggregate(std::vector{Put(Filled(1.0f, 10)), Put(Filled(1.0f, 11))}).Get(), Error);
}

}  // namespace
}  // namespace sheaf::ml
