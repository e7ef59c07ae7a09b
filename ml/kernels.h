// Room: ml. The loops over float arrays that the trainer lives in, in one table per instruction set.
//
// Invariants: (1) every loop is elementwise or sums in a fixed order that does not depend on the vector width, and
// is compiled without contraction, so all tables give the same bits; (2) sources and destination may be the same
// array but must not overlap otherwise; (3) no alignment is required, 64 bytes is fastest.
#pragma once

#include <cstddef>

namespace sheaf::ml {

struct Kernels {
  const char* name;
  // out[i] = ((a[0][i]*s[0] + a[1][i]*s[1]) + ...) , `arrays` of them, from left to right. Destinations beyond the
  // last-level cache are written past it: the reader is another core.
  void (*weighted_sum)(const float* const* a, const float* s, std::size_t arrays, float* out, std::size_t n);
  // out[i] = (a[0][i] + a[1][i] + ...) * scale, from left to right.
  void (*scaled_sum)(const float* const* a, std::size_t arrays, float scale, float* out, std::size_t n);
  // One step of stochastic gradient descent on the mean of `arrays` gradients:
  //   d = (g[0][i] + g[1][i] + ...) * scale + decay * w[i];  v'[i] = momentum * v[i] + d;  w'[i] = w[i] - rate * v'[i]
  // With momentum == 0, v and v_out may be null.
  void (*sgd)(const float* const* g, std::size_t arrays, float scale, float rate, float momentum, float decay,
              const float* w, const float* v, float* w_out, float* v_out, std::size_t n);
  // rows x columns matrix h: h = max(0, h + bias of the column).
  void (*bias_relu)(float* h, const float* bias, std::size_t rows, std::size_t columns);
  void (*bias_add)(float* h, const float* bias, std::size_t rows, std::size_t columns);
  // out[c] = sum over rows of d[r][c], from the first row to the last.
  void (*column_sum)(const float* d, float* out, std::size_t rows, std::size_t columns);
  // d[i] = h[i] > 0 ? d[i] : 0
  void (*relu_mask)(float* d, const float* h, std::size_t n);
};

// The fastest table for this processor; decided once. SHEAF_ML_ISA=baseline|avx2|avx512 asks for a lesser one.
const Kernels& BestKernels();
// All tables that this processor can run, the baseline first. For tests.
std::size_t AllKernels(const Kernels* tables[3]);

}  // namespace sheaf::ml
