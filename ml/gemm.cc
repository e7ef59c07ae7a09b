// Room: ml. The only file that knows oneDNN.
#include "ml/gemm.h"

#include <dnnl.h>

#include <stdexcept>
#include <string>

// Of the OpenMP runtime that oneDNN links. Its header comes with one compiler only; the function's type is standard.
extern "C" void omp_set_num_threads(int);

namespace sheaf::ml {

void Gemm(bool transpose_a, bool transpose_b, std::size_t m, std::size_t n, std::size_t k, const float* a,
          std::size_t lda, const float* b, std::size_t ldb, float beta, float* c) {
  // The setting is per thread, and a worker may run tasks on more than one.
  thread_local const bool one_thread = (omp_set_num_threads(1), true);
  (void)one_thread;
  const auto status =
      dnnl_sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', static_cast<dnnl_dim_t>(m),
                 static_cast<dnnl_dim_t>(n), static_cast<dnnl_dim_t>(k), 1.0f, a, static_cast<dnnl_dim_t>(lda), b,
                 static_cast<dnnl_dim_t>(ldb), beta, c, static_cast<dnnl_dim_t>(n));
  if (status != dnnl_success) {
    throw std::runtime_error("oneDNN refused a " + std::to_string(m) + "x" + std::to_string(k) + " times " +
                             std::to_string(k) + "x" + std::to_string(n) + " product (status " +
                             std::to_string(static_cast<int>(status)) + ")");
  }
}

}  // namespace sheaf::ml
