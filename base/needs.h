// What a task needs besides CPUs, and what a machine has of it: custom resources, exact in thousandths, and labels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>

namespace sheaf {

struct Needs {
  std::map<std::string, std::uint64_t> resources;  // by name, in thousandths; never 0
  std::set<std::string> labels;                    // "name=value"
  bool empty() const { return resources.empty() && labels.empty(); }
  friend bool operator==(const Needs&, const Needs&) = default;
};

inline constexpr std::size_t kNeedsMax = 16;                             // names in one Needs
inline constexpr std::uint64_t kAmountMax = 1'000'000'000'000;           // thousandths
inline constexpr std::size_t kNeedsTextMax = kNeedsMax * (2 * 64 + 16);  // of what FormatNeeds writes

// Whether `has` suffices for one task that needs `needs`, were all of it free.
bool Satisfies(const Needs& has, const Needs& needs);

// Exact, "2" or "0.5".
std::string FormatAmount(std::uint64_t milli);
// One line, "disk=0.5,gpu=2,zone:a": amounts after '=', labels with ':'. In order, so that equal needs have equal texts.
std::string FormatNeeds(const Needs& needs);
// Text of that kind, from anywhere. Empty, or what is wrong with it; then *needs is as it was. A name, a label's value: 1 to 64
// letters, digits, '-', '_' and '.'; an amount: more than 0, at most a billion, three digits after the point at most.
std::string ParseNeeds(std::string_view text, Needs* needs);

// Of a resource, a label or its value; of a pool: these become file names, log lines, table cells and parts of certificates. 1 to 64
// letters, digits, '-', '_' and '.'.
bool IsPlainName(std::string_view name);

}  // namespace sheaf
