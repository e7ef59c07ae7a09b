// `sheaf stop`: SIGTERM to the process that listens at an address, then waits until it has ended.
//
// The kernel names the process (SO_PEERCRED of the socket's listener; over TCP, the scheduler's own word) and allows
// the signal only to its user, so that a stale file can never end a stranger.
#pragma once

#include <string>

namespace sheaf::cli {

struct StopRequest {
  std::string address;  // empty and not all: the only daemon of this user on this machine
  bool all = false;
  int timeout_s = 30;
};
int RunStop(const StopRequest& request, char** argv);

}  // namespace sheaf::cli
