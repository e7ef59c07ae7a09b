// How a task is to be run: plain structs for designated initialisers, Task<F>({.cpus = 2, .retries = 0}).
//
// Every field has a value, so that any subset can be given, in the order declared.
//
// Standard library only: users compile this file.
#pragma once

#include <map>
#include <string>
#include <type_traits>

namespace sheaf {

// A quantity that any number converts to, narrowing or not: {.cpus = n} with an int, {.cpus = 0.5}.
struct Amount {
  template <class N>
    requires std::is_arithmetic_v<N>
  constexpr Amount(N number) : value(static_cast<double>(number)) {}
  double value;
};

// Resources and labels are what `sheaf pool start --resources gpu=2 --labels zone=a` says a machine has; Sheaf counts them and gives
// them no meaning. A task that names any runs in worker processes that are kept for such tasks, and keep their resources until
// they end, also while they wait inside Get.
struct TaskOptions {
  std::string name = {};  // what errors and status call it; empty: the function's own name
  Amount cpus = 1;        // CPUs it needs, not negative; InfeasibleError when the pool has fewer
  int retries = 3;        // how often it may run again after a worker died; its own exceptions are final
  std::map<std::string, Amount> resources = {};    // custom ones by name, exact in thousandths: {{"gpu", 1}}
  std::map<std::string, std::string> labels = {};  // that its machine must have: {{"zone", "a"}}
};

namespace detail {
// Of resources and labels; empty if there are none. Throws Error for options that cannot be, and names the field.
std::string NeedsText(const TaskOptions& options);
}  // namespace detail

}  // namespace sheaf
