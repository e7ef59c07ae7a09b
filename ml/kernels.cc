// Room: ml. Chooses the kernels' instruction set once per process.
#include "ml/kernels.h"

#include <cstdlib>
#include <cstring>

namespace sheaf::ml {

extern const Kernels kKernels_baseline;
#if defined(__x86_64__)
extern const Kernels kKernels_avx2;
extern const Kernels kKernels_avx512;
#endif

std::size_t AllKernels(const Kernels* tables[3]) {
  std::size_t count = 0;
  tables[count++] = &kKernels_baseline;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (avx2) tables[count++] = &kKernels_avx2;
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    tables[count++] = &kKernels_avx512;
  }
#endif
  return count;
}

const Kernels& BestKernels() {
  static const Kernels& best = []() -> const Kernels& {
    const Kernels* tables[3];
    const std::size_t count = AllKernels(tables);
    if (const char* asked = std::getenv("SHEAF_ML_ISA")) {
      for (std::size_t i = 0; i < count; ++i) {
        if (std::strcmp(tables[i]->name, asked) == 0) return *tables[i];
      }
    }
    return *tables[count - 1];
  }();
  return best;
}

}  // namespace sheaf::ml
