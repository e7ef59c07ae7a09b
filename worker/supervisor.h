// The supervisor: a small single-threaded process that starts the pool and every worker, reaps them, and dies last.
//
// It is single-threaded because the parent-death signal of a child fires when the *thread* that forked it ends, and it
// is the subreaper because only a parent learns an exit status. Everything it started dies with it.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>

#include "worker/pool_options.h"

namespace sheaf {

struct SupervisorOptions {
  PoolOptions pool;
  std::string executable;  // started as the pool with PoolArguments(); empty: /proc/self/exe
  // Called once, with the pool's pid, when it accepts clients (ready line, address file).
  std::function<void(pid_t pool)> on_ready;
};

// SIGTERM and SIGINT drain: the pool is asked to stop, killed after its deadline. Returns 0 after an orderly stop,
// 1 when the pool could not start or died.
int RunSupervisor(const SupervisorOptions& options);

}  // namespace sheaf
