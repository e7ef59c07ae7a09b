// Room: ml. The kernels for any processor the build targets; compiled with that set's flags (ml/CMakeLists.txt).
#define SHEAF_ISA baseline
#include "ml/kernels_body.h"
