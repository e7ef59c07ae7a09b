// Stochastic gradient descent with momentum, and how its rate changes over a run.
//
// Plain values: copy them, send them to tasks. Standard library only.
#pragma once

#include <cstdint>
#include <span>

namespace sheaf::ml {

// Sutskever et al., "On the importance of initialization and momentum" (2013), in the form that keeps the rate outside
// the velocity: d = mean of the gradients + decay * w;  v' = momentum * v + d;  w' = w - rate * v'.
struct Sgd {
  float rate = 0.1f;
  float momentum = 0;  // 0: no velocity is kept
  float decay = 0;     // L2 penalty

  // One step on the mean of `gradients`, added from first to last: the same bits on every machine. All spans have the
  // same size; w_out may be w, and v_out may be v; with momentum == 0 both v and v_out may be empty. Throws
  // std::invalid_argument when sizes differ or there is no gradient.
  void Step(std::span<const std::span<const float>> gradients, std::span<const float> w, std::span<const float> v,
            std::span<float> w_out, std::span<float> v_out) const;
};

// Rises linearly during `warmup` steps, then falls along half a cosine to `final` of the rate at step `total`
// (Loshchilov and Hutter, "SGDR", 2017, without restarts). total == 0: constant after the warm-up.
struct Schedule {
  std::int64_t warmup = 0, total = 0;
  float final = 0;
  float Factor(std::int64_t step) const;  // of Sgd::rate, step from 0
};

}  // namespace sheaf::ml
