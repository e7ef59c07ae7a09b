// Room: ml. The perceptron's forward and backward pass.
//
// Invariants: (1) the same inputs give the same bits on every worker of a machine: fixed order of sums, one thread;
// (2) nothing is allocated once a thread's scratch has grown to the batch.
#include "sheaf/ml/mlp.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <stdexcept>
#include <string>

#include "ml/gemm.h"
#include "ml/kernels.h"
#include "ml/softmax.h"

namespace sheaf::ml {
namespace {

// splitmix64 (Steele, Lea, Flood 2014): a counter-based stream, so that every value has its own place.
std::uint64_t Mix(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}
double Uniform(std::uint64_t seed, std::uint64_t index) {  // in (0, 1)
  const std::uint64_t bits = Mix(seed + (index + 1) * 0x9e3779b97f4a7c15ull);
  return (static_cast<double>(bits >> 11) + 0.5) * 0x1p-53;
}

}  // namespace

// The activations of every layer, and two buffers for their gradients.
struct Mlp::Scratch {
  std::vector<std::vector<float>> activations;
  std::vector<float> delta[2];
  static Scratch& OfThisThread() {
    thread_local Scratch scratch;
    return scratch;
  }
  static float* Room(std::vector<float>& buffer, std::size_t size) {
    if (buffer.size() < size) buffer.resize(size);
    return buffer.data();
  }
};

Mlp::Mlp(std::vector<std::size_t> sizes) : sizes_(std::move(sizes)) {
  if (sizes_.size() < 2) throw std::invalid_argument("Mlp: give at least the numbers of inputs and of classes");
  for (const std::size_t size : sizes_) {
    if (size == 0 || size > (std::size_t{1} << 24)) {
      throw std::invalid_argument("Mlp: a layer of " + std::to_string(size) + " units; allowed are 1 to 2^24");
    }
  }
  if (classes() > 256) throw std::invalid_argument("Mlp: more than 256 classes do not fit the label's byte");
  for (std::size_t i = 0; i + 1 < sizes_.size(); ++i) parameters_ += (sizes_[i] + 1) * sizes_[i + 1];
}

Mlp::Layer Mlp::LayerAt(std::size_t i, std::size_t offset) const {
  return {sizes_[i], sizes_[i + 1], offset, offset + sizes_[i] * sizes_[i + 1]};
}

std::vector<TensorSpec> Mlp::Specs() const {
  std::vector<TensorSpec> specs;
  for (std::size_t i = 0; i + 1 < sizes_.size(); ++i) {
    const auto in = static_cast<std::int64_t>(sizes_[i]), out = static_cast<std::int64_t>(sizes_[i + 1]);
    const std::string prefix = "layers." + std::to_string(i);
    specs.push_back({prefix + ".weight", DType::kF32, {in, out}});
    specs.push_back({prefix + ".bias", DType::kF32, {out}});
  }
  return specs;
}

void Mlp::Init(std::uint64_t seed, std::span<float> weights) const {
  if (weights.size() != parameters_) throw std::invalid_argument("Mlp::Init: wrong number of weights");
  std::size_t offset = 0;
  for (std::size_t i = 0; i + 1 < sizes_.size(); ++i) {
    const Layer layer = LayerAt(i, offset);
    const double scale = std::sqrt(2.0 / static_cast<double>(layer.in));
    for (std::size_t k = layer.weight; k < layer.bias; ++k) {
      // Box-Muller; one of the pair is enough here.
      const double radius = std::sqrt(-2 * std::log(Uniform(seed, 2 * k)));
      weights[k] = static_cast<float>(scale * radius * std::cos(2 * std::numbers::pi * Uniform(seed, 2 * k + 1)));
    }
    std::fill_n(weights.begin() + static_cast<std::ptrdiff_t>(layer.bias), layer.out, 0.0f);
    offset = layer.bias + layer.out;
  }
}

void Mlp::CheckBatch(std::size_t x, std::size_t rows) const {
  if (sizes_.empty()) throw std::invalid_argument("Mlp: a model without layers");
  if (rows == 0) throw std::invalid_argument("Mlp: an empty batch");
  if (x != rows * inputs()) {
    throw std::invalid_argument("Mlp: x has " + std::to_string(x) + " values, but y has " + std::to_string(rows) +
                                " rows of " + std::to_string(inputs()) + " inputs");
  }
}

float* Mlp::Forward(std::span<const float> weights, std::span<const float> x, std::size_t rows,
                    Scratch& scratch) const {
  const std::size_t layers = sizes_.size() - 1;
  if (scratch.activations.size() < layers) scratch.activations.resize(layers);
  const float* input = x.data();
  float* output = nullptr;
  std::size_t offset = 0;
  for (std::size_t i = 0; i < layers; ++i) {
    const Layer layer = LayerAt(i, offset);
    output = Scratch::Room(scratch.activations[i], rows * layer.out);
    Gemm(false, false, rows, layer.out, layer.in, input, layer.in, &weights[layer.weight], layer.out, 0, output);
    const float* bias = &weights[layer.bias];
    if (i + 1 < layers) {
      BestKernels().bias_relu(output, bias, rows, layer.out);
    } else {
      BestKernels().bias_add(output, bias, rows, layer.out);
    }
    input = output;
    offset = layer.bias + layer.out;
  }
  return output;
}

double Mlp::Gradient(std::span<const float> weights, std::span<const float> x, std::span<const std::uint8_t> y,
                     std::span<float> gradient) const {
  const std::size_t rows = y.size();
  CheckBatch(x.size(), rows);
  if (weights.size() != parameters_ || gradient.size() != parameters_) {
    throw std::invalid_argument("Mlp::Gradient: " + std::to_string(parameters_) + " parameters, but " +
                                std::to_string(weights.size()) + " weights and room for " +
                                std::to_string(gradient.size()));
  }
  const Kernels& kernels = BestKernels();
  Scratch& scratch = Scratch::OfThisThread();
  float* delta = Forward(weights, x, rows, scratch);
  const double loss = SoftmaxCrossEntropy(delta, y, classes());  // delta becomes the logits' gradient

  std::size_t end = parameters_;
  for (std::size_t i = sizes_.size() - 1; i-- > 0;) {
    const Layer layer = LayerAt(i, end - (sizes_[i] + 1) * sizes_[i + 1]);
    const float* input = i == 0 ? x.data() : scratch.activations[i - 1].data();
    Gemm(true, false, layer.in, layer.out, rows, input, layer.in, delta, layer.out, 0, &gradient[layer.weight]);
    kernels.column_sum(delta, &gradient[layer.bias], rows, layer.out);
    if (i == 0) break;
    float* next = Scratch::Room(scratch.delta[i % 2], rows * layer.in);
    Gemm(false, true, rows, layer.in, layer.out, delta, layer.out, &weights[layer.weight], layer.out, 0, next);
    kernels.relu_mask(next, input, rows * layer.in);
    delta = next;
    end = layer.weight;
  }
  return loss;
}

std::size_t Mlp::CountCorrect(std::span<const float> weights, std::span<const float> x, std::span<const std::uint8_t> y,
                              double* loss) const {
  CheckBatch(x.size(), y.size());
  if (weights.size() != parameters_) throw std::invalid_argument("Mlp::CountCorrect: wrong number of weights");
  constexpr std::size_t kBatch = 256;
  std::size_t correct = 0;
  double sum = 0;
  for (std::size_t at = 0; at < y.size(); at += kBatch) {
    const std::size_t rows = std::min(kBatch, y.size() - at);
    const auto labels = y.subspan(at, rows);
    float* logits = Forward(weights, x.subspan(at * inputs(), rows * inputs()), rows, Scratch::OfThisThread());
    for (std::size_t r = 0; r < rows; ++r) {
      const float* row = logits + r * classes();
      correct += static_cast<std::size_t>(std::max_element(row, row + classes()) - row) == labels[r];
    }
    if (loss) sum += SoftmaxCrossEntropy(logits, labels, classes()) * static_cast<double>(rows);
  }
  if (loss) *loss = sum / static_cast<double>(y.size());
  return correct;
}

}  // namespace sheaf::ml
