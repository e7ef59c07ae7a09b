#include "cli/cluster_question.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <set>

#include "base/address_file.h"
#include "cli/cluster_part.h"
#include "cli/exit_code.h"
#include "cli/pool_client.h"

namespace sheaf::cli {
namespace {

using std::chrono::milliseconds;

// A pool is asked for its scheduler. False: `reply` says why there is none.
bool FromPool(const std::string& path, milliseconds timeout, std::string* scheduler, ClusterReply* reply) {
  const PoolAnswer answer = AskPool(path, timeout);
  *scheduler = answer.view.scheduler;
  if (answer.ok && !scheduler->empty()) return true;
  reply->address = path;
  reply->reason = answer.ok ? "this pool is in no cluster" : answer.reason;
  reply->exit_code = answer.ok          ? kExitNotFound
                     : answer.timed_out ? kExitTimeout
                     : answer.foreign   ? kExitVersion
                                        : kExitUnreachable;
  return false;
}

bool FromThisMachine(milliseconds timeout, std::string* scheduler, ClusterReply* reply) {
  std::set<std::string> schedulers, pools;
  const std::string directory = RuntimeDirectory(&reply->reason);
  if (directory.empty()) {
    reply->exit_code = kExitFailed;
    return false;
  }
  for (const FoundAddress& one : ListAnnounced(directory))
    (one.kind == "scheduler" ? schedulers : pools).insert(one.address);
  if (schedulers.empty()) {
    for (const std::string& path : pools) {
      ClusterReply ignored;
      if (std::string its; FromPool(path, timeout, &its, &ignored)) schedulers.insert(its);
    }
  }
  if (schedulers.size() == 1) {
    *scheduler = *schedulers.begin();
    return true;
  }
  reply->exit_code = schedulers.empty() ? kExitUnreachable : kExitUsage;
  reply->reason =
      "no scheduler, and no pool of a cluster, of this user runs on this machine: give an address with --address";
  if (!schedulers.empty()) {
    reply->reason = "there are several clusters; choose one with --address:";
    for (const std::string& one : schedulers) reply->reason += " " + one;
  }
  return false;
}

bool FindScheduler(const std::string& given, milliseconds timeout, std::string* scheduler, ClusterReply* reply) {
  if (given.empty()) return FromThisMachine(timeout, scheduler, reply);
  *scheduler = given;
  const scheduler::ListenAddress address = scheduler::ParseListenAddress(given);
  if (address.fault == scheduler::ListenAddress::Fault::kMalformed || address.unix_path.empty()) return true;
  switch (Probe(address.unix_path, &reply->reason)) {
    case Listener::kPool:
      return FromPool(address.unix_path, timeout, scheduler, reply);
    case Listener::kScheduler:
      return true;
    case Listener::kNobody:
      break;
  }
  reply->address = given;
  reply->exit_code = kExitUnreachable;
  return false;
}

}  // namespace

ClusterReply AskCluster(const ClusterQuestion& question, char** argv) {
  if (!question.pki.empty()) setenv("SHEAF_PKI", question.pki.c_str(), 1);
  const milliseconds timeout = std::chrono::seconds(question.timeout_s);
  ClusterReply reply;
  if (!FindScheduler(question.address, timeout, &reply.address, &reply)) return reply;
  const scheduler::ListenAddress address = scheduler::ParseListenAddress(reply.address);
  if (address.fault == scheduler::ListenAddress::Fault::kMalformed) {
    reply.exit_code = kExitUsage;
    reply.reason = address.reason;
    return reply;
  }
  RequireClusterPart(argv);
  ClusterAnswer answer = AskScheduler(address, timeout, true);
  reply.reason = std::move(answer.reason);
  reply.view = std::move(answer.view);
  if (answer.ok && reply.view.placement) return reply;
  reply.exit_code = kExitUnreachable;
  if (answer.timed_out) reply.exit_code = kExitTimeout;
  if (answer.foreign) reply.exit_code = kExitVersion;
  if (answer.refused) reply.exit_code = kExitRefused;
  if (answer.ok) {
    reply.exit_code = kExitVersion;
    reply.reason = "the scheduler is of another version (" + reply.view.version + ") and does not show jobs and grants";
  }
  return reply;
}

int Answer(const ClusterReply& reply, const std::string& text, int exit_code) {
  std::fputs(text.c_str(), stdout);
  if (!reply.ok()) {
    std::fprintf(stderr, "sheaf: %s\n", About(reply.address, reply.reason).c_str());
  } else if (reply.view.left_out > 0) {
    std::fprintf(stderr, "sheaf: the answer has a bounded size: %llu rows are not in it\n",
                 static_cast<unsigned long long>(reply.view.left_out));
  }
  if (std::fflush(stdout) != 0) return kExitFailed;
  return reply.ok() ? exit_code : reply.exit_code;
}

}  // namespace sheaf::cli
