#include "base/byte_size.h"

#include <charconv>

#include "base/limits.h"

namespace sheaf {

std::optional<std::uint64_t> ParseByteSize(std::string_view text) {
  std::uint64_t number = 0;
  const char* end = text.data() + text.size();
  const auto [stop, fault] = std::from_chars(text.data(), end, number);
  if (fault != std::errc() || number == 0) return std::nullopt;
  std::string_view unit(stop, static_cast<std::size_t>(end - stop));
  if (unit.starts_with(' ')) unit.remove_prefix(1);
  if (unit.ends_with("iB")) {
    unit.remove_suffix(2);
    if (unit.empty()) return std::nullopt;
  } else if (unit.ends_with('B')) {
    unit.remove_suffix(1);
  }
  int shift = 0;
  if (!unit.empty()) {
    switch (unit[0]) {
      case 'k':
      case 'K':
        shift = 10;
        break;
      case 'm':
      case 'M':
        shift = 20;
        break;
      case 'g':
      case 'G':
        shift = 30;
        break;
      case 't':
      case 'T':
        shift = 40;
        break;
      default:
        return std::nullopt;
    }
    if (unit.size() != 1) return std::nullopt;
  }
  if (number > (std::uint64_t{1} << 60) >> shift) return std::nullopt;
  return number << shift;
}

std::string FormatByteSize(std::uint64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  int unit = 0;
  while (unit < 6 && bytes >> (10 * unit + 10) != 0) ++unit;
  const std::uint64_t whole = bytes >> (10 * unit);
  const std::uint64_t rest = unit == 0 ? 0 : (bytes >> (10 * unit - 10)) & 1023;
  std::string text = std::to_string(whole);
  if (const std::uint64_t tenth = rest * 10 / 1024; tenth != 0) text += "." + std::to_string(tenth);
  return text + kUnits[unit];
}

std::string ParseStoreSize(std::string_view text, std::uint64_t* bytes) {
  const auto size = ParseByteSize(text);
  if (!size) return "'" + std::string(text) + "' is not a size; write 512MiB, 4GiB or a number of bytes";
  if (*size < limits::kStoreBytesMin)
    return "'" + std::string(text) + "' is too little: " + std::to_string(limits::kStoreBytesMin >> 20) +
           "MiB is the least that workers and their objects do with, and without a unit a number is bytes; write "
           "512MiB or "
           "4GiB, or leave it away for half of the memory";
  *bytes = *size;
  return {};
}

}  // namespace sheaf
