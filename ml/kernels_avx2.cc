// Room: ml. The kernels for processors with AVX2 and FMA; compiled with that set's flags (ml/CMakeLists.txt).
#define SHEAF_ISA avx2
#include "ml/kernels_body.h"
