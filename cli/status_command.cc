#include "cli/status_command.h"

#include <chrono>
#include <cstdio>
#include <vector>

#include "base/address_file.h"
#include "cli/cluster_part.h"
#include "cli/exit_code.h"
#include "cli/pool_client.h"
#include "cli/status_view.h"

namespace sheaf::cli {
namespace {

struct Target {
  bool is_scheduler = false;
  std::string address;  // pool: path of its socket
};

// From one address that somebody gave: a unix socket is asked what it is.
bool Classify(const std::string& text, std::vector<Target>* targets, Unreachable* trouble, int* exit_code) {
  const scheduler::ListenAddress address = scheduler::ParseListenAddress(text);
  if (address.fault == scheduler::ListenAddress::Fault::kMalformed) {
    *trouble = {text, address.reason};
    *exit_code = address.fault == scheduler::ListenAddress::Fault::kNotLocal ? kExitRefused : kExitUsage;
    return false;
  }
  if (address.unix_path.empty()) {
    targets->push_back({true, address.grpc});
    return true;
  }
  std::string reason;
  switch (Probe(address.unix_path, &reason)) {
    case Listener::kPool:
      targets->push_back({false, address.unix_path});
      return true;
    case Listener::kScheduler:
      targets->push_back({true, address.grpc});
      return true;
    case Listener::kNobody:
      *trouble = {text, reason};
      *exit_code = kExitUnreachable;
      return false;
  }
  return false;
}

int Show(const StatusRequest& request, const MachineStatus& status, int exit_code) {
  if (request.format == "json") {
    std::fputs(RenderJson(status).c_str(), stdout);
  } else {
    std::fputs(RenderTable(status).c_str(), stdout);
  }
  for (const Unreachable& one : status.unreachable) {
    std::fprintf(stderr, "sheaf: %s\n", About(one.address, one.reason).c_str());
  }
  if (std::fflush(stdout) != 0) return kExitFailed;
  return exit_code;
}

}  // namespace

int RunStatus(const StatusRequest& request, char** argv) {
  if (!request.pki.empty()) setenv("SHEAF_PKI", request.pki.c_str(), 1);
  MachineStatus status;
  std::vector<Target> targets;
  if (!request.address.empty()) {
    Unreachable trouble;
    int exit_code = kExitFailed;
    if (!Classify(request.address, &targets, &trouble, &exit_code)) {
      status.unreachable.push_back(trouble);
      return Show(request, status, exit_code);
    }
  } else {
    std::string error;
    const std::string directory = RuntimeDirectory(&error);
    if (directory.empty()) {
      std::fprintf(stderr, "sheaf: %s\n", error.c_str());
      return Show(request, status, kExitFailed);
    }
    for (const FoundAddress& one : ListAnnounced(directory)) {
      targets.push_back({one.kind == "scheduler", one.address});
    }
    if (targets.empty()) {
      std::fprintf(stderr,
                   "sheaf: no scheduler and no pool of this user runs on this machine; "
                   "start one with: sheaf pool start\n");
      return Show(request, status, kExitUnreachable);
    }
  }

  // Before anything is asked: this may start the program over as its larger half.
  for (const Target& target : targets) {
    if (target.is_scheduler) RequireClusterPart(argv);
  }
  const std::chrono::milliseconds timeout = std::chrono::seconds(request.timeout_s);
  int exit_code = kExitOk;
  for (const Target& target : targets) {
    int failure = kExitUnreachable;
    std::string reason;
    if (target.is_scheduler) {
      ClusterAnswer answer = AskScheduler(scheduler::ParseListenAddress(target.address), timeout);
      if (answer.ok) {
        status.clusters.push_back(std::move(answer.view));
        continue;
      }
      if (answer.timed_out) failure = kExitTimeout;
      if (answer.foreign) failure = kExitVersion;
      if (answer.refused) failure = kExitRefused;
      reason = std::move(answer.reason);
    } else {
      PoolAnswer answer = AskPool(target.address, timeout);
      if (answer.ok) {
        status.pools.push_back(std::move(answer.view));
        continue;
      }
      if (answer.timed_out) failure = kExitTimeout;
      if (answer.foreign) failure = kExitVersion;
      reason = std::move(answer.reason);
    }
    status.unreachable.push_back({target.address, reason});
    exit_code = failure;
  }
  return Show(request, status, exit_code);
}

}  // namespace sheaf::cli
