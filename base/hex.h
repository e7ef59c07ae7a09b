// Bytes as lower-case hex digits.
#pragma once

#include <cstddef>
#include <string>

namespace sheaf {

inline std::string HexOf(const void* bytes, std::size_t size) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(2 * size);
  for (const auto* at = static_cast<const unsigned char*>(bytes); size > 0; ++at, --size) {
    text += kDigits[*at >> 4];
    text += kDigits[*at & 15];
  }
  return text;
}

}  // namespace sheaf
