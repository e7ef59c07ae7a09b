// Room: ml. The exponential is the C library's: exact to an ulp, and the same on every worker.
#include "ml/softmax.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

namespace sheaf::ml {

double SoftmaxCrossEntropy(float* logits, std::span<const std::uint8_t> labels, std::size_t classes) {
  const float inverse_rows = 1.0f / static_cast<float>(labels.size());
  double loss = 0;
  for (std::size_t r = 0; r < labels.size(); ++r) {
    float* row = logits + r * classes;
    const std::size_t label = labels[r];
    if (label >= classes) {
      throw std::invalid_argument("SoftmaxCrossEntropy: row " + std::to_string(r) + " is labelled " +
                                  std::to_string(label) + ", but there are " + std::to_string(classes) + " classes");
    }
    // Shifted by the largest, so that nothing overflows.
    const float largest = *std::max_element(row, row + classes);
    const float shifted_label = row[label] - largest;
    float sum = 0;
    for (std::size_t c = 0; c < classes; ++c) {
      row[c] = std::exp(row[c] - largest);
      sum += row[c];
    }
    loss += std::log(sum) - shifted_label;
    const float scale = inverse_rows / sum;
    for (std::size_t c = 0; c < classes; ++c) row[c] *= scale;
    row[label] -= inverse_rows;
  }
  return loss / static_cast<double>(labels.size());
}

}  // namespace sheaf::ml
