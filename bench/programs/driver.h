// What Sheaf's benchmark programs share: an embedded pool of a chosen size, and the no-op task.
#pragma once

#include <unistd.h>

#include <array>
#include <cstdlib>
#include <string>

#include "bench/measure.h"
#include "sheaf/sheaf.h"

namespace bench {

// Starts the pool that this driver works with: embedded, whatever SHEAF_ADDRESS says.
inline void Start(std::int64_t workers) {
  unsetenv("SHEAF_ADDRESS");
  setenv("SHEAF_WORKERS", std::to_string(workers).c_str(), 1);
  sheaf::Init();
}

// 32 bytes in, 8 bytes out. All benchmark tasks return the pid of who ran them.
using Argument = std::array<std::int64_t, 4>;
inline std::int64_t Noop(const Argument& argument) {
  Keep(argument[0]);
  return getpid();
}

// Drivers never execute tasks.
inline std::int64_t CheckedPid(std::int64_t pid) {
  static const std::int64_t own = getpid();
  if (pid == own || pid <= 0) Die("a task ran in the driver, or did not run");
  return pid;
}

inline void WarmUp(int calls = 200) {
  for (int i = 0; i < calls; ++i) CheckedPid(sheaf::Remote<Noop>(Argument{}).Get());
}

}  // namespace bench
