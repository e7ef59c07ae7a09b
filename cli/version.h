// The version that `sheaf --version` prints and that pools and schedulers tell each other. CMake defines it.
#pragma once

namespace sheaf::cli {

inline constexpr char kVersion[] = SHEAF_VERSION;

}  // namespace sheaf::cli
