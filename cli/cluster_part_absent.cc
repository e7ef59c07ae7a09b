// The cluster part as the lean `sheaf` has it: elsewhere.

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "base/check.h"
#include "cli/cluster_part.h"
#include "cli/exit_code.h"

namespace sheaf::cli {

void RequireClusterPart(char* const* arguments) {
  char own[4096];
  const ssize_t size = readlink("/proc/self/exe", own, sizeof own);
  if (size <= 0 || size == sizeof own) {
    std::fprintf(stderr, "sheaf: cannot find out where it lies: is /proc mounted?\n");
    std::exit(kExitFailed);
  }
  const std::string self(own, static_cast<std::size_t>(size));
  const std::string directory = self.substr(0, self.rfind('/'));
  for (const std::string& path : {directory + "/sheaf-cluster", directory + "/../libexec/sheaf/sheaf-cluster"}) {
    execv(path.c_str(), arguments);
    if (errno != ENOENT) {
      std::fprintf(stderr, "sheaf: cannot start %s: %s\n", path.c_str(), std::strerror(errno));
      std::exit(kExitFailed);
    }
  }
  std::fprintf(stderr, "sheaf: its second half, sheaf-cluster, does not lie beside it in %s\n", directory.c_str());
  std::exit(kExitFailed);
}

scheduler::Outcome StartScheduler(const scheduler::SchedulerOptions&,
                                  const std::function<bool(const scheduler::ReadyScheduler&)>&) {
  SHEAF_CHECK(false);
  return scheduler::Outcome::kFailed;
}

ClusterAnswer AskScheduler(const scheduler::ListenAddress&, std::chrono::milliseconds) {
  SHEAF_CHECK(false);
  return {};
}

int RunMemberPool(const PoolOptions&) {
  SHEAF_CHECK(false);
  return kExitFailed;
}

}  // namespace sheaf::cli
