// The time of day, for what must be understood by other machines: certificates, tokens, tickets. Never for waiting.
#pragma once

#include <chrono>
#include <cstdint>

namespace sheaf {

inline std::int64_t UnixSeconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace sheaf
