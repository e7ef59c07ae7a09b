// A multilayer perceptron: ReLU between the layers, softmax cross entropy at the end, on plain float arrays.
//
// The model is only its layer sizes; parameters are the caller's, in one flat array, so that the same class serves a
// task that reads weights in shared memory, a test on a std::vector and a benchmark without any runtime. For layer i
// with `in` inputs and `out` outputs the array holds the weight, in x out, row-major, then `out` biases.
//
// All methods are const and thread-safe; scratch memory belongs to the calling thread. Matrix products run on oneDNN
// with one thread. Standard library only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <tuple>
#include <vector>

#include "sheaf/ml/tensor_spec.h"

namespace sheaf::ml {

class Mlp {
 public:
  Mlp() = default;
  // `sizes`: inputs, hidden layers, classes; at least two, none zero, classes at most 256. Throws std::invalid_argument.
  explicit Mlp(std::vector<std::size_t> sizes);

  std::size_t inputs() const { return sizes_.front(); }
  std::size_t classes() const { return sizes_.back(); }
  std::size_t parameters() const { return parameters_; }
  // "layers.0.weight" {in, out}, "layers.0.bias" {out}, ... in the order of the flat array.
  std::vector<TensorSpec> Specs() const;
  // He et al., "Delving deep into rectifiers" (2015): normal with variance 2/in, biases zero. The same bits for the
  // same seed on every machine.
  void Init(std::uint64_t seed, std::span<float> weights) const;

  // The mean loss over the batch, and the gradient of that mean, written to all of `gradient` (parameters() floats).
  // `x` is rows x inputs(), `y` has one class a row. Throws std::invalid_argument when sizes or a class do not fit.
  double Gradient(std::span<const float> weights, std::span<const float> x, std::span<const std::uint8_t> y,
                  std::span<float> gradient) const;

  // How many rows are classified as `y` says; `loss`, if given, receives the mean loss. In batches of at most 256 rows.
  std::size_t CountCorrect(std::span<const float> weights, std::span<const float> x, std::span<const std::uint8_t> y,
                           double* loss = nullptr) const;

  static auto Fields(auto& self) { return std::tie(self.sizes_, self.parameters_); }

 private:
  struct Scratch;
  struct Layer {
    std::size_t in, out, weight, bias;  // offsets into the flat array
  };
  Layer LayerAt(std::size_t i, std::size_t offset) const;
  // Runs all layers; returns the rows x classes logits, which live in the scratch.
  float* Forward(std::span<const float> weights, std::span<const float> x, std::size_t rows, Scratch& scratch) const;
  void CheckBatch(std::size_t x, std::size_t rows) const;

  std::vector<std::size_t> sizes_;
  std::size_t parameters_ = 0;
};

}  // namespace sheaf::ml
