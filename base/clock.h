// The only reader of the monotonic clock outside the daemons' shells.
#pragma once

#include <chrono>
#include <cstdint>

namespace sheaf {

inline std::int64_t NowNanos() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace sheaf
