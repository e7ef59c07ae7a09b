// The supervisor: a small single-threaded process that starts the pool and every worker, reaps them, and dies last.
//
// It is single-threaded because the parent-death signal of a child fires when the *thread* that forked it ends, and it
// is the subreaper because only a parent learns an exit status. Everything it started dies with it.
#pragma once

#include <functional>
#include <string>

#include "worker/pool_options.h"

namespace sheaf {

struct SupervisorOptions {
  PoolOptions pool;
  std::string executable;          // started as the pool with PoolArguments(); empty: /proc/self/exe
  std::function<void()> on_ready;  // called once, when the pool accepts clients (ready line, address file)
};

// SIGTERM and SIGINT drain: the pool is asked to stop, killed after its deadline. Returns 0 after an orderly stop,
// 1 when the pool could not start or died.
int RunSupervisor(const SupervisorOptions& options);

}  // namespace sheaf
