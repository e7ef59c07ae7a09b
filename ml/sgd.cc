// Room: ml. Checks sizes, then leaves the loop to the kernels.
#include "sheaf/ml/sgd.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <stdexcept>
#include <vector>

#include "ml/kernels.h"

namespace sheaf::ml {

void Sgd::Step(std::span<const std::span<const float>> gradients, std::span<const float> w, std::span<const float> v,
               std::span<float> w_out, std::span<float> v_out) const {
  if (gradients.empty()) throw std::invalid_argument("Sgd::Step: no gradients");
  bool fits = w_out.size() == w.size();
  if (momentum != 0) fits = fits && v.size() == w.size() && v_out.size() == w.size();
  std::vector<const float*> sources;
  for (const auto gradient : gradients) {
    fits = fits && gradient.size() == w.size();
    sources.push_back(gradient.data());
  }
  if (!fits) throw std::invalid_argument("Sgd::Step: weights, velocities and gradients differ in size");
  BestKernels().sgd(sources.data(), sources.size(), 1.0f / static_cast<float>(sources.size()), rate, momentum, decay,
                    w.data(), v.data(), w_out.data(), v_out.data(), w.size());
}

float Schedule::Factor(std::int64_t step) const {
  if (step < warmup) return static_cast<float>(step + 1) / static_cast<float>(warmup);
  if (total <= warmup) return 1;
  const double part = std::min(1.0, static_cast<double>(step - warmup) / static_cast<double>(total - warmup));
  return final + (1 - final) * static_cast<float>(0.5 * (1 + std::cos(std::numbers::pi * part)));
}

}  // namespace sheaf::ml
