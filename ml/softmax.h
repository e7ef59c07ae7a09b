// Room: ml. Softmax and cross entropy over the rows of a matrix of logits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace sheaf::ml {

// `logits` is labels.size() x classes. Returns the mean of -log softmax(row)[label], and replaces the logits by the
// gradient of that mean: (softmax - one_hot(label)) / rows. Throws std::invalid_argument when a label is >= classes.
double SoftmaxCrossEntropy(float* logits, std::span<const std::uint8_t> labels, std::size_t classes);

}  // namespace sheaf::ml
