// Starts a child process of the single-threaded supervisor: vfork, then only system calls, then exec.
//
// The child dies with the supervisor (parent-death signal), gains no privileges, is in a process group of its own (Ctrl-C in
// a terminal is for the driver), and has exactly the descriptors given here.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/resource_limits.h"

namespace sheaf {

struct ChildStart {
  int executable = -1;       // run with fexecve
  int standard_output = -1;  // -1: inherited
  int standard_error = -1;   // -1: inherited
  int socket = -1;           // becomes descriptor 3
  int second = -1;           // becomes descriptor 4; -1: none
  std::string directory;     // empty: inherited
  std::vector<std::string> arguments;
  std::vector<std::string> environment;
  std::vector<SoftLimit> limits;  // others are inherited
};

// The child's pid, or -1 with *error = errno of the step that failed.
pid_t StartChild(const ChildStart& start, int* error);

}  // namespace sheaf
