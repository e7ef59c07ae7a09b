// Asks a pool about itself over its own unix socket. No attach, no shared memory.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>

#include "worker/pool_view.h"

namespace sheaf::cli {

// What listens at the path of a unix socket: a pool takes packets, a scheduler a stream.
enum class Listener { kNobody, kPool, kScheduler };
Listener Probe(const std::string& path, std::string* reason);

// "ADDRESS: REASON", or the reason alone if it names the address.
std::string About(const std::string& address, const std::string& reason);

struct PoolAnswer {
  bool ok = false;
  bool timed_out = false;
  bool foreign = false;  // it answered, but not as a pool of this version does
  std::string reason;
  PoolView view;
};
PoolAnswer AskPool(const std::string& path, std::chrono::milliseconds timeout);

// The process that listens at the path, as the kernel knows it; 0 if nobody does.
pid_t ListenerPid(const std::string& path);

}  // namespace sheaf::cli
