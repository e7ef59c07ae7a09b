// Data-parallel training with handles all the way: the result is compared with the same sums in one process.
#include <gtest/gtest.h>

#include <vector>

#include "sheaf/ml.h"
#include "sheaf/sheaf.h"

namespace {

using namespace sheaf;

struct Batch {
  Array<float> x;
  Array<std::uint8_t> y;
};
struct Gradient {
  Array<float> g;
  double loss = 0;
};

// Least squares for y = w . x, with `w` as wide as a row.
Gradient TrainBatch(const Batch& batch, const ml::Weights& weights) {
  const auto w = weights.Flat(), x = batch.x.span();
  const auto y = batch.y.span();
  ArrayBuilder<float> g(w.size(), 0.f);
  double loss = 0;
  for (std::size_t row = 0; row < y.size(); ++row) {
    float error = -static_cast<float>(y[row]);
    for (std::size_t i = 0; i < w.size(); ++i) error += w[i] * x[row * w.size() + i];
    for (std::size_t i = 0; i < w.size(); ++i) g.span()[i] += error * x[row * w.size() + i];
    loss += error * error;
  }
  return {std::move(g).Seal(), loss};
}

ml::Weights Apply(const ml::Weights& weights, const Gradient& gradient, float rate) {
  ml::WeightsBuilder next(weights);
  const auto out = next.Flat();
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = weights.Flat()[i] - rate * gradient.g[i];
  return std::move(next).Seal();
}

constexpr std::size_t kWidth = 8, kRows = 64;

Batch MakeBatch(unsigned seed) {
  ArrayBuilder<float> x(kRows * kWidth);
  ArrayBuilder<std::uint8_t> y(kRows);
  unsigned state = seed * 2654435761u + 1;
  for (float& value : x.span()) {
    state = state * 1664525u + 1013904223u;
    value = static_cast<float>(state >> 16) / 65536.f;
  }
  for (std::size_t row = 0; row < kRows; ++row) y.span()[row] = x.span()[row * kWidth] > 0.5f;
  return {std::move(x).Seal(), std::move(y).Seal()};
}

class TrainBatchTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { Init(); }
  static void TearDownTestSuite() { Shutdown(); }
};

TEST_F(TrainBatchTest, GivesTheSameWeightsAsOneProcess) {
  std::vector<ObjectRef<Batch>> batches;
  for (unsigned seed = 0; seed < 4; ++seed) batches.push_back(Put(MakeBatch(seed)));
  ml::WeightsBuilder zero({{"w", ml::DType::kF32, {static_cast<std::int64_t>(kWidth)}}});
  for (float& value : zero.Flat()) value = 0;
  const ml::Weights start = std::move(zero).Seal();

  ObjectRef<ml::Weights> w = Put(start);
  for (int epoch = 0; epoch < 10; ++epoch) {
    std::vector<ObjectRef<Gradient>> gradients;
    for (const auto& batch : batches) gradients.push_back(Remote<TrainBatch>(batch, w));
    w = Remote<Apply>(w, ml::Aggregate(gradients), 0.01f);
  }
  const ml::Weights trained = w.Get();

  ml::Weights expected = start;
  double first_loss = 0, last_loss = 0;
  for (int epoch = 0; epoch < 10; ++epoch) {
    std::vector<Gradient> gradients;
    for (const auto& batch : batches) gradients.push_back(TrainBatch(batch.Get(), expected));
    last_loss = 0;
    ArrayBuilder<float> mean(kWidth, 0.f);
    for (const Gradient& gradient : gradients) {
      last_loss += gradient.loss;
      for (std::size_t i = 0; i < kWidth; ++i) mean.span()[i] += gradient.g[i];
    }
    if (epoch == 0) first_loss = last_loss;
    for (float& value : mean.span()) value /= static_cast<float>(gradients.size());
    expected = Apply(expected, {std::move(mean).Seal(), 0}, 0.01f);
  }
  EXPECT_LT(last_loss, 0.7 * first_loss);
  for (std::size_t i = 0; i < kWidth; ++i) EXPECT_NEAR(trained.Flat()[i], expected.Flat()[i], 1e-5f) << i;
}

}  // namespace
