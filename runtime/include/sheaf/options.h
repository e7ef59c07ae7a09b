// How a task is to be run: plain structs for designated initialisers, Task<F>({.cpus = 2, .retries = 0}).
//
// Every field has a value, so that any subset can be given, in the order declared.
//
// Standard library only: users compile this file.
#pragma once

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

struct TaskOptions {
  std::string name = {};  // what errors and status call it; empty: the function's own name
  Amount cpus = 1;        // CPUs it needs; InfeasibleError when the pool has fewer
  int retries = 3;        // how often it may run again after a worker died; its own exceptions are final
};

}  // namespace sheaf
