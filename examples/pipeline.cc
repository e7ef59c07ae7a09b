// process_layer, where layers really depend on each other: each layer's task takes the ref of the layer before it.
//
// Nothing waits in the driver. Micro-batches are slices of one tensor in shared memory, and they overlap: while one
// is in layer 2 the next is in layer 1. Layers leave their result in the store and pass on its ref.
#include <sheaf/ml.h>
#include <sheaf/sheaf.h>

#include <cmath>
#include <iostream>
#include <vector>

namespace ml = sheaf::ml;

constexpr std::int64_t kWidth = 64;

// y = tanh(x W), one layer of the network.
ml::Tensor ProcessLayer(const ml::Tensor& x, const ml::Weights& weights) {
  ml::TensorBuilder y(ml::DType::kF32, {x.shape()[0], kWidth});
  const ml::Tensor w = weights["weight"];
  const auto in = x.view<float>();
  const auto matrix = w.view<float>();
  const auto out = y.span<float>();
  for (std::int64_t row = 0; row < x.shape()[0]; ++row) {
    for (std::int64_t column = 0; column < kWidth; ++column) {
      float sum = 0;
      for (std::int64_t k = 0; k < kWidth; ++k) sum += in(row, k) * matrix(k, column);
      out[static_cast<std::size_t>(row * kWidth + column)] = std::tanh(sum);
    }
  }
  return std::move(y).Seal();
}

// The end of the pipeline: what there is to say about one micro-batch.
std::tuple<ml::Tensor, double> Loss(const ml::Tensor& y) {
  double sum = 0;
  for (const float value : y.span<float>()) sum += static_cast<double>(value) * value;
  return {y, sum / static_cast<double>(y.size())};
}

ml::Weights MakeLayer(float scale) {  // a scaled identity, so that the result is known
  ml::WeightsBuilder layer({{"weight", ml::DType::kF32, {kWidth, kWidth}}});
  for (std::size_t i = 0; i < layer.Flat().size(); ++i) layer.Flat()[i] = i % (kWidth + 1) == 0 ? scale : 0;
  return std::move(layer).Seal();
}

int main(int argc, char** argv) {
  sheaf::Init(argc, argv);
  std::vector<sheaf::ObjectRef<ml::Weights>> layers;
  for (int i = 0; i < 3; ++i) layers.push_back(sheaf::Put(MakeLayer(1.5f)));
  const std::vector<float> ones(16 * kWidth, 0.5f);
  const ml::Tensor x = ml::Tensor::Copy<float>({16, kWidth}, ones);

  std::vector<sheaf::ObjectRef<double>> losses;
  for (std::size_t m = 0; m < 8; ++m) {
    sheaf::ObjectRef<ml::Tensor> activation = sheaf::Put(x.Slice(2 * m, 2 * m + 2));
    for (const auto& layer : layers) activation = sheaf::Remote<ProcessLayer>(activation, layer);
    const auto [y, loss] = sheaf::Remote<Loss>(activation);
    losses.push_back(loss);
  }
  double expected = 0.5;
  for (int i = 0; i < 3; ++i) expected = std::tanh(1.5 * expected);
  bool right = true;
  for (const double loss : sheaf::Get(losses)) right &= std::abs(loss - expected * expected) < 1e-5;
  std::cout << losses.size() << " micro-batches through " << layers.size() << " layers: " << (right ? "right" : "WRONG")
            << "\n";
  return right ? 0 : 1;
}
