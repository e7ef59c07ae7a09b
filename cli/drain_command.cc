#include "cli/drain_command.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <thread>

#include "base/address_file.h"
#include "cli/cluster_part.h"
#include "cli/exit_code.h"

namespace sheaf::cli {

int RunDrain(const DrainRequest& request, char** argv) {
  if (!request.pki.empty()) setenv("SHEAF_PKI", request.pki.c_str(), 1);
  std::string where = request.address, error;
  const char* set = std::getenv("SHEAF_ADDRESS");
  // A pool's socket is of no use here: the scheduler is asked.
  if (where.empty() && set && std::string_view(set).find('/') == std::string_view::npos) where = set;
  if (where.empty()) {
    for (const FoundAddress& one : ListAnnounced(RuntimeDirectory(&error)))
      if (one.kind == "scheduler") where = one.address;
  }
  if (where.empty()) {
    std::fprintf(stderr, "sheaf: no scheduler runs on this machine: give its address with --address\n");
    return kExitUnreachable;
  }
  const scheduler::ListenAddress address = scheduler::ParseListenAddress(where);
  if (address.fault == scheduler::ListenAddress::Fault::kMalformed) {
    std::fprintf(stderr, "sheaf: %s\n", address.reason.c_str());
    return kExitUsage;
  }
  RequireClusterPart(argv);
  bool found = false;
  if (const std::string why = AskForDrain(address, request.pool, &found); !why.empty()) {
    std::fprintf(stderr, "sheaf: %s\n", why.c_str());
    return kExitUnreachable;
  }
  if (!found) {
    std::fprintf(stderr, "sheaf: no living pool is named %s; sheaf status shows their names\n", request.pool.c_str());
    return kExitNotFound;
  }
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(request.timeout_s);
  while (std::chrono::steady_clock::now() < deadline) {
    const ClusterAnswer answer = AskScheduler(address, std::chrono::seconds(5));
    bool alive = false;
    for (const auto& pool : answer.view.pools)
      alive |= pool.pool.pool_id == request.pool && pool.standing == scheduler::Standing::kAlive;
    if (answer.ok && !alive) {
      std::printf("%s has ended\n", request.pool.c_str());
      return kExitOk;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  std::fprintf(stderr, "sheaf: %s still runs after %d s; it gets nothing new\n", request.pool.c_str(),
               request.timeout_s);
  return kExitTimeout;
}

}  // namespace sheaf::cli
