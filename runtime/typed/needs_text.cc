// The options of a task become the text by which the runtime and the pool know its needs. Any thread.
#include <cmath>
#include <cstdint>

#include "base/needs.h"
#include "sheaf/error.h"
#include "sheaf/options.h"

namespace sheaf::detail {

std::string NeedsText(const TaskOptions& options) {
  constexpr double kCpusMax = 1'000'000;  // in thousandths it fits into what travels
  // Not a number fails every comparison.
  if (!(options.cpus.value >= 0) || !(options.cpus.value <= kCpusMax))
    throw Error("TaskOptions.cpus is " + std::to_string(options.cpus.value) + ": write a number from 0 to 1000000");
  if (options.retries < 0)
    throw Error("TaskOptions.retries is " + std::to_string(options.retries) +
                ": write how often the task may run again after its worker died, 0 for never");
  if (options.resources.empty() && options.labels.empty()) return {};
  Needs needs;
  for (const auto& [name, amount] : options.resources) {
    const double milli = std::round(amount.value * 1000);
    if (!IsPlainName(name))
      throw Error("'" + name + "' cannot be the name of a resource: 1 to 64 letters, digits, '-', '_' and '.'");
    if (!(milli >= 1) || !(milli <= static_cast<double>(kAmountMax)))
      throw Error("a task asks for " + std::to_string(amount.value) + " of resource '" + name +
                  "': 0.001 is the least, 1000000000 the most");
    needs.resources[name] = static_cast<std::uint64_t>(milli);
  }
  for (const auto& [name, value] : options.labels) {
    if (!IsPlainName(name) || !IsPlainName(value))
      throw Error("'" + name + "=" + value +
                  "' cannot be a label: both parts are 1 to 64 letters, digits, '-', '_' and '.'");
    needs.labels.insert(name + "=" + value);
  }
  if (needs.resources.size() + needs.labels.size() > kNeedsMax)
    throw Error("a task names more than " + std::to_string(kNeedsMax) + " resources and labels");
  return FormatNeeds(needs);
}

}  // namespace sheaf::detail
