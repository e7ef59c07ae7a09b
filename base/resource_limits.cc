#include "base/resource_limits.h"

#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

namespace sheaf {
namespace {

static_assert(RLIM_INFINITY == ~rlim_t{0} && sizeof(rlim_t) == sizeof(std::uint64_t));

template <typename T>
bool TakeNumber(std::string_view* text, T* number) {
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), *number);
  if (error != std::errc()) return false;
  text->remove_prefix(static_cast<std::size_t>(end - text->data()));
  return true;
}

}  // namespace

bool AreSoftLimits(const std::vector<SoftLimit>& limits) {
  bool seen[RLIM_NLIMITS] = {};
  for (const SoftLimit& limit : limits) {
    if (limit.resource >= RLIM_NLIMITS || seen[limit.resource]) return false;
    seen[limit.resource] = true;
  }
  return true;
}

std::vector<SoftLimit> OwnSoftLimits() {
  std::vector<SoftLimit> limits;
  for (std::uint32_t resource = 0; resource < RLIM_NLIMITS; ++resource) {
    rlimit limit{};
    if (getrlimit(static_cast<__rlimit_resource>(resource), &limit) == 0) limits.push_back({resource, limit.rlim_cur});
  }
  return limits;
}

std::string TextOfSoftLimits(const std::vector<SoftLimit>& limits) {
  std::string text;
  for (const SoftLimit& limit : limits)
    text += (text.empty() ? "" : ",") + std::to_string(limit.resource) + ":" + std::to_string(limit.soft);
  return text;
}

std::optional<std::vector<SoftLimit>> ParseSoftLimits(std::string_view text) {
  std::vector<SoftLimit> limits;
  while (!text.empty()) {
    SoftLimit limit;
    if (!limits.empty()) {
      if (text.front() != ',') return std::nullopt;
      text.remove_prefix(1);
    }
    if (!TakeNumber(&text, &limit.resource) || !text.starts_with(':')) return std::nullopt;
    text.remove_prefix(1);
    if (!TakeNumber(&text, &limit.soft)) return std::nullopt;
    limits.push_back(limit);
    if (limits.size() > RLIM_NLIMITS) return std::nullopt;
  }
  if (!AreSoftLimits(limits)) return std::nullopt;
  return limits;
}

int ApplySoftLimits(const std::vector<SoftLimit>& limits) {
  for (const SoftLimit& wanted : limits) {
    const auto resource = static_cast<__rlimit_resource>(wanted.resource);
    rlimit limit{};
    if (getrlimit(resource, &limit) != 0) return errno;
    limit.rlim_cur = std::min<rlim_t>(wanted.soft, limit.rlim_max);
    if (setrlimit(resource, &limit) != 0) return errno;
  }
  return 0;
}

}  // namespace sheaf
