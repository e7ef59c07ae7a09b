// How a task is to be run: plain structs for designated initialisers, Task<F>({.cpus = 2, .retries
// = 0}).
//
// Every field has a value, so that any subset can be given, in the order declared.
// Standard library only: users compile this file.
#pragma once

#include <string>
#include <type_traits>

#include "sheaf/detail/abi.h"

namespace sheaf {

// A quantity that any number converts to, narrowing or not: {.cpus = n} with an int, {.cpus = 0.5}.
struct Amount {
  template <class N>
    requires std::is_arithmetic_v<N>
  constexpr Amount(N number) : value(static_cast<double>(number)) {}
  double value;
};

struct TaskOptions {
  std::string name = {};         // what errors, traces and the dashboard call it; empty: the function's own name
  Amount cpus = 1;               // slots it holds while it runs
  int retries = 3;               // how often it may run again after a worker died; its own exceptions are final
  Duration deadline = kForever;  // from submission to completion; then its ref fails with TimeoutError
};

}  // namespace sheaf
