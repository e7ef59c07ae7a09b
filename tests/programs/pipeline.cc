// Layers chained by refs: micro-batches as slices of one tensor, tuple results split into refs.
#include <gtest/gtest.h>

#include <vector>

#include "sheaf/ml.h"
#include "sheaf/sheaf.h"

namespace {

using namespace sheaf;

// y = x * scale, for a layer with one weight.
ml::Tensor Layer(const ml::Tensor& x, const ml::Weights& weights) {
  ml::TensorBuilder y(ml::DType::kF32, x.shape());
  const auto in = x.span<float>();
  for (std::size_t i = 0; i < in.size(); ++i) y.span<float>()[i] = in[i] * weights.Flat()[0];
  return std::move(y).Seal();
}
std::tuple<ml::Tensor, double> Head(const ml::Tensor& x, const ml::Weights& weights) {
  const ml::Tensor y = Layer(x, weights);
  double sum = 0;
  for (const float value : y.span<float>()) sum += value;
  return {y, sum};
}
std::vector<float> Flatten(const ml::Tensor& x) {
  const auto values = x.span<float>();
  return {values.begin(), values.end()};
}

class Pipeline : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { Init(); }
  static void TearDownTestSuite() { Shutdown(); }
};

TEST_F(Pipeline, EachMicroBatchPassesEveryLayer) {
  constexpr std::size_t kRows = 8, kColumns = 1000;
  std::vector<float> values(kRows * kColumns);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i / kColumns);
  const ml::Tensor x = ml::Tensor::Copy<float>({kRows, kColumns}, values);
  std::vector<ObjectRef<ml::Weights>> w;
  for (const float scale : {2.f, 3.f, 5.f}) {
    ml::WeightsBuilder layer({{"scale", ml::DType::kF32, {1}}});
    layer.Flat()[0] = scale;
    w.push_back(Put(std::move(layer).Seal()));
  }
  std::vector<ObjectRef<double>> loss;
  std::vector<ObjectRef<ml::Tensor>> out;
  for (std::size_t m = 0; m < kRows; ++m) {
    auto a = Remote<Layer>(x.Slice(m, m + 1), w[0]);
    auto b = Remote<Layer>(a, w[1]);
    auto [y, l] = Remote<Head>(b, w[2]);
    loss.push_back(l);
    out.push_back(y);
  }
  const std::vector<double> losses = Get(loss);
  for (std::size_t m = 0; m < kRows; ++m) EXPECT_EQ(losses[m], 30.0 * static_cast<double>(m * kColumns));
  const std::vector<float> last = Remote<Flatten>(out[7]).Get();
  ASSERT_EQ(last.size(), kColumns);
  EXPECT_EQ(last[999], 210.f);
}

}  // namespace
