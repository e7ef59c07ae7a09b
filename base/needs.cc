#include "base/needs.h"

#include <algorithm>

namespace sheaf {
namespace {

bool ParseAmount(std::string_view text, std::uint64_t* milli) {
  const std::size_t point = std::min(text.find('.'), text.size());
  const std::string_view whole = text.substr(0, point);
  std::string fraction(text.substr(std::min(point + 1, text.size())));
  const auto digits = [](std::string_view all) {
    return std::all_of(all.begin(), all.end(), [](char c) { return c >= '0' && c <= '9'; });
  };
  if (whole.empty() || whole.size() > 10 || fraction.size() > 3 || !digits(whole) || !digits(fraction)) return false;
  if (point < text.size() && fraction.empty()) return false;
  fraction.resize(3, '0');
  *milli = std::stoull(std::string(whole)) * 1000 + std::stoull(fraction);
  return *milli > 0 && *milli <= kAmountMax;
}

}  // namespace

std::string FormatAmount(std::uint64_t milli) {
  std::string text = std::to_string(milli / 1000);
  if (milli % 1000 == 0) return text;
  std::string fraction = std::to_string(1000 + milli % 1000).substr(1);
  while (fraction.back() == '0') fraction.pop_back();
  return text + "." + fraction;
}

bool IsPlainName(std::string_view name) {
  return !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
           c == '.';
  });
}

bool Satisfies(const Needs& has, const Needs& needs) {
  return std::includes(has.labels.begin(), has.labels.end(), needs.labels.begin(), needs.labels.end()) &&
         std::all_of(needs.resources.begin(), needs.resources.end(), [&](const auto& need) {
           const auto found = has.resources.find(need.first);
           return found != has.resources.end() && found->second >= need.second;
         });
}

std::string FormatNeeds(const Needs& needs) {
  std::string text;
  for (const auto& [name, milli] : needs.resources)
    text += (text.empty() ? "" : ",") + name + "=" + FormatAmount(milli);
  for (std::string label : needs.labels) {
    label[std::min(label.find('='), label.size() - 1)] = ':';
    text += (text.empty() ? "" : ",") + label;
  }
  return text;
}

std::string ParseNeeds(std::string_view text, Needs* needs) {
  Needs read;
  if (text.size() > kNeedsTextMax) return "more than " + std::to_string(kNeedsMax) + " resources and labels";
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(','), text.size());
    const std::string_view part = text.substr(0, end);
    if (end + 1 == text.size()) return "a comma at the end";
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::size_t mark = part.find_first_of("=:");
    const std::string quoted = "'" + std::string(part) + "'";
    if (mark == std::string_view::npos || !IsPlainName(part.substr(0, mark)))
      return quoted + " is neither a resource, NAME=AMOUNT, nor a label, NAME:VALUE";
    const std::string name(part.substr(0, mark));
    const std::string_view value = part.substr(mark + 1);
    if (part[mark] == ':') {
      if (!IsPlainName(value)) return quoted + ": the value of a label is 1 to 64 letters, digits, '-', '_' and '.'";
      read.labels.insert(name + "=" + std::string(value));
      continue;
    }
    std::uint64_t milli = 0;
    if (!ParseAmount(value, &milli))
      return quoted + ": an amount is more than 0, at most 1000000000, with three digits after the point at most";
    if (!read.resources.emplace(name, milli).second) return quoted + ": named twice";
  }
  if (read.resources.size() + read.labels.size() > kNeedsMax)
    return "more than " + std::to_string(kNeedsMax) + " resources and labels";
  *needs = std::move(read);
  return {};
}

}  // namespace sheaf
