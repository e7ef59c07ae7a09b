#include "tests/cluster/travel_library.h"

#include <dlfcn.h>

extern "C" const char* SheafTravelLibraryPath() {
  Dl_info info{};
  return dladdr(reinterpret_cast<const void*>(&SheafTravelLibraryPath), &info) ? info.dli_fname : "";
}
