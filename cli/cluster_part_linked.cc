// The cluster part as `sheaf-cluster` has it.

#include <signal.h>

#include <cstdio>
#include <cstdlib>

#include "cli/cluster_part.h"
#include "cli/exit_code.h"
#include "cli/version.h"
#include "scheduler/scheduler_client.h"
#include "worker/pool_main.h"
#include "worker/scheduler_link.h"

namespace sheaf::cli {

void RequireClusterPart(char* const*) {
  // gRPC writes its own account of every refused address to stderr; ours is enough, and this can be overridden.
  setenv("GRPC_VERBOSITY", "NONE", 0);
}

scheduler::Outcome StartScheduler(const scheduler::SchedulerOptions& options,
                                  const std::function<bool(const scheduler::ReadyScheduler&)>& on_ready) {
  return scheduler::RunScheduler(options, on_ready);
}

ClusterAnswer AskScheduler(const scheduler::ListenAddress& address, std::chrono::milliseconds timeout) {
  ClusterAnswer answer;
  scheduler::SchedulerClient client(address);
  const scheduler::CallStatus status = client.GetCluster(timeout, &answer.view);
  answer.ok = status.ok();
  answer.timed_out = status.kind == scheduler::CallStatus::Kind::kTimeout;
  answer.foreign = status.kind == scheduler::CallStatus::Kind::kNotAScheduler;
  answer.reason = status.message;
  return answer;
}

int RunMemberPool(const PoolOptions& options) {
  const scheduler::ListenAddress address = scheduler::ParseListenAddress(options.scheduler);
  if (address.fault != scheduler::ListenAddress::Fault::kNone) {
    std::fprintf(stderr, "sheaf pool: %s\n", address.reason.c_str());
    return kExitFailed;
  }
  // Before the link's threads exist: a Ctrl-C goes to every thread of the terminal's group, and the supervisor alone
  // decides when a pool ends.
  sigset_t ends;
  sigemptyset(&ends);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) sigaddset(&ends, signal);
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);
  worker::SchedulerLink link(address, kVersion,
                             [](const std::string& text) { std::fprintf(stderr, "sheaf pool: %s\n", text.c_str()); });
  const int code = RunPool(options, [&](const PoolView& view) { link.Publish(view); });
  link.Stop();
  return code;
}

}  // namespace sheaf::cli
