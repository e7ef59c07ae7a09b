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

// The pid of this process, asked once: the system call would cost as much as a task. Workers are not
// forked from a process that has run a task, so nobody inherits the answer.
inline std::int64_t OwnPid() {
  static const std::int64_t pid = getpid();
  return pid;
}

// 32 bytes in, 8 bytes out. All benchmark tasks return the pid of who ran them.
using Argument = std::array<std::int64_t, 4>;
inline std::int64_t Noop(const Argument& argument) {
  Keep(argument[0]);
  return OwnPid();
}

// Drivers never execute tasks.
inline std::int64_t CheckedPid(std::int64_t pid) {
  if (pid == OwnPid() || pid <= 0) Die("a task ran in the driver, or did not run");
  return pid;
}

inline void WarmUp(int calls = 200) {
  for (int i = 0; i < calls; ++i) CheckedPid(sheaf::Remote<Noop>(Argument{}).Get());
}

}  // namespace bench
