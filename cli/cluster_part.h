// What the command line needs gRPC for: the scheduler, asking a scheduler, a pool that is member of a cluster.
//
// There are two executables of one source. `sheaf` is lean: it links no gRPC, so that an embedded pool starts in a
// millisecond or two; its RequireClusterPart replaces the process by `sheaf-cluster`, which lies beside it and has
// everything. Users only ever type `sheaf`.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "scheduler/cluster_view.h"
#include "scheduler/listen_address.h"
#include "scheduler/scheduler_main.h"
#include "worker/pool_options.h"

namespace sheaf::cli {

// Call it before the functions below, and before the process did anything that an exec would lose. `arguments` is
// main's argv. Does not return in the lean executable.
void RequireClusterPart(char* const* arguments);

scheduler::Outcome StartScheduler(const scheduler::SchedulerOptions& options,
                                  const std::function<bool(const scheduler::ReadyScheduler&)>& on_ready);

struct ClusterAnswer {
  bool ok = false;
  bool timed_out = false;
  bool refused = false;  // it wants credentials, and there are none
  bool foreign = false;  // something answered that is no scheduler of this version
  std::string reason;
  scheduler::ClusterView view;
};
// Of an address that other machines can reach: with the credentials in $SHEAF_PKI, else the admin's in the default state
// directory, else those of the only pool that has some there.
// `placement`: with jobs and grants.
ClusterAnswer AskScheduler(const scheduler::ListenAddress& address, std::chrono::milliseconds timeout,
                           bool placement = false);

// RunPool, with a link to options.scheduler. Returns the exit code.
int RunMemberPool(const PoolOptions& options);

// Empty, or why nobody could be asked.
std::string AskForDrain(const scheduler::ListenAddress& address, const std::string& pool, bool* found);

// The text of an invitation to the cluster whose scheduler has that state directory. `address`: where machines reach it; empty:
// becomes where it listens. False: why not.
bool MakeInvitation(const std::string& state_dir, int seconds, std::string* address, std::string* text,
                    std::string* why);
// Mode 0600, complete or not at all. Empty, or why not.
std::string WriteSecretFile(const std::string& path, const std::string& content);

}  // namespace sheaf::cli
