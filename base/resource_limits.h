// Soft resource limits of a process, as text that travels in an environment, and given to a child before it runs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sheaf {

struct SoftLimit {
  std::uint32_t resource = 0;  // RLIMIT_...
  std::uint64_t soft = 0;      // all ones: none
  bool operator==(const SoftLimit&) const = default;
};

// Whether each resource is one that this kernel knows, once.
bool AreSoftLimits(const std::vector<SoftLimit>& limits);

std::vector<SoftLimit> OwnSoftLimits();
std::string TextOfSoftLimits(const std::vector<SoftLimit>& limits);  // resource:value pairs
std::optional<std::vector<SoftLimit>> ParseSoftLimits(std::string_view text);

// For this process, no higher than its hard limits, which stay. Only system calls: a child after vfork may use it. 0, or errno.
int ApplySoftLimits(const std::vector<SoftLimit>& limits);

}  // namespace sheaf
