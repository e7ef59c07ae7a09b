// Room: ml. The kernels for processors with AVX-512 F, BW, DQ and VL; compiled with that set's flags
// (ml/CMakeLists.txt).
#define SHEAF_ISA avx512
#include "ml/kernels_body.h"
