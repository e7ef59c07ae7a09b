// Room: ml. The perceptron's forward and backward pass.
//
// Invariants: (1) the same inputs give the same bits on every worker of a machine: fixed order of sums, one thread;
// (2) nothing is allocated once a thread's scratch has grown to the batch.
#include "sheaf/ml/mlp.h"

#include <algorithm>
#include <cmath>
#include <cstring>
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

// One run of rows of a weight that lies in one piece.
struct RowRun {
  std::size_t first, rows;
  const float* data;
};

// Calls f(RowRun) for the parts of the rows x columns matrix at `offset`. A cut inside a row is the caller's mistake.
template <class F>
void ForRowRuns(Pieces pieces, std::size_t offset, std::size_t rows, std::size_t columns, const F& f) {
  std::size_t begin = 0, row = 0;
  for (const auto piece : pieces) {
    const std::size_t end = begin + piece.size();
    const std::size_t at = offset + row * columns;
    if (row < rows && at < end) {
      const std::size_t fit = std::min(rows - row, (end - at) / columns);
      if (fit == 0) throw std::invalid_argument("Mlp: weights are cut inside a row; use Mlp::Cuts");
      f(RowRun{row, fit, piece.data() + (at - begin)});
      row += fit;
      if (row < rows && offset + row * columns != end) {
        throw std::invalid_argument("Mlp: weights are cut inside a row; use Mlp::Cuts");
      }
    }
    begin = end;
  }
}

const float* Vector(Pieces pieces, std::size_t offset, std::size_t size) {
  std::size_t begin = 0;
  for (const auto piece : pieces) {
    if (offset >= begin && offset + size <= begin + piece.size()) return piece.data() + (offset - begin);
    begin += piece.size();
  }
  throw std::invalid_argument("Mlp: weights are cut inside a bias; use Mlp::Cuts");
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

std::vector<std::size_t> Mlp::Cuts(std::size_t parts) const {
  if (parts == 0) throw std::invalid_argument("Mlp::Cuts: zero parts");
  std::vector<std::size_t> cuts{0};
  for (std::size_t part = 1; part < parts; ++part) {
    const std::size_t wanted = parameters_ / parts * part + parameters_ % parts * part / parts;
    std::size_t offset = 0, cut = parameters_;
    for (std::size_t i = 0; i + 1 < sizes_.size(); ++i) {
      const Layer layer = LayerAt(i, offset);
      offset = layer.bias + layer.out;
      if (wanted > offset) continue;
      // The nearest row boundary; the last one is the bias' beginning.
      const std::size_t row = (wanted - std::min(wanted, layer.weight) + layer.out / 2) / layer.out;
      cut = row > layer.in ? offset : layer.weight + row * layer.out;
      break;
    }
    cuts.push_back(std::max(cut, cuts.back()));
  }
  cuts.push_back(parameters_);
  return cuts;
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

float* Mlp::Forward(Pieces weights, std::span<const float> x, std::size_t rows, Scratch& scratch) const {
  const std::size_t layers = sizes_.size() - 1;
  if (scratch.activations.size() < layers) scratch.activations.resize(layers);
  const float* input = x.data();
  float* output = nullptr;
  std::size_t offset = 0;
  for (std::size_t i = 0; i < layers; ++i) {
    const Layer layer = LayerAt(i, offset);
    output = Scratch::Room(scratch.activations[i], rows * layer.out);
    ForRowRuns(weights, layer.weight, layer.in, layer.out, [&](const RowRun& run) {
      Gemm(false, false, rows, layer.out, run.rows, input + run.first, layer.in, run.data, layer.out,
           run.first == 0 ? 0.0f : 1.0f, output);
    });
    const float* bias = Vector(weights, layer.bias, layer.out);
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
  return Gradient(Pieces(&weights, 1), x, y, gradient);
}

double Mlp::Gradient(Pieces weights, std::span<const float> x, std::span<const std::uint8_t> y,
                     std::span<float> gradient) const {
  const std::size_t rows = y.size();
  CheckBatch(x.size(), rows);
  std::size_t total = 0;
  for (const auto piece : weights) total += piece.size();
  if (total != parameters_ || gradient.size() != parameters_) {
    throw std::invalid_argument("Mlp::Gradient: " + std::to_string(parameters_) + " parameters, but " +
                                std::to_string(total) + " weights and room for " + std::to_string(gradient.size()));
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
    ForRowRuns(weights, layer.weight, layer.in, layer.out, [&](const RowRun& run) {
      if (run.rows == layer.in) {
        Gemm(false, true, rows, layer.in, layer.out, delta, layer.out, run.data, layer.out, 0, next);
        return;
      }
      // A run of rows yields a run of columns of `next`: through a buffer, as Gemm writes whole rows.
      thread_local std::vector<float> part;
      Gemm(false, true, rows, run.rows, layer.out, delta, layer.out, run.data, layer.out, 0,
           Scratch::Room(part, rows * run.rows));
      for (std::size_t r = 0; r < rows; ++r) {
        std::memcpy(next + r * layer.in + run.first, part.data() + r * run.rows, run.rows * sizeof(float));
      }
    });
    kernels.relu_mask(next, input, rows * layer.in);
    delta = next;
    end = layer.weight;
  }
  return loss;
}

std::size_t Mlp::CountCorrect(std::span<const float> weights, std::span<const float> x,
                              std::span<const std::uint8_t> y, double* loss) const {
  CheckBatch(x.size(), y.size());
  constexpr std::size_t kBatch = 256;
  std::size_t correct = 0;
  double sum = 0;
  for (std::size_t at = 0; at < y.size(); at += kBatch) {
    const std::size_t rows = std::min(kBatch, y.size() - at);
    const auto labels = y.subspan(at, rows);
    float* logits = Forward(Pieces(&weights, 1), x.subspan(at * inputs(), rows * inputs()), rows,
                            Scratch::OfThisThread());
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
