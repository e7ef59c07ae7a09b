// The cluster part as the lean `sheaf` has it: elsewhere.

#include "base/check.h"
#include "cli/cluster_part.h"
#include "cli/exit_code.h"
#include "cli/sibling.h"

namespace sheaf::cli {

void RequireClusterPart(char* const* arguments) { BecomeSibling("sheaf-cluster", arguments); }

scheduler::Outcome StartScheduler(const scheduler::SchedulerOptions&,
                                  const std::function<bool(const scheduler::ReadyScheduler&)>&) {
  SHEAF_CHECK(false);
  return scheduler::Outcome::kFailed;
}

ClusterAnswer AskScheduler(const scheduler::ListenAddress&, std::chrono::milliseconds, bool) {
  SHEAF_CHECK(false);
  return {};
}

std::string AskForDrain(const scheduler::ListenAddress&, const std::string&, bool*) {
  SHEAF_CHECK(false);
  return {};
}

bool MakeInvitation(const std::string&, int, std::string*, std::string*, std::string*) {
  SHEAF_CHECK(false);
  return false;
}

std::string WriteSecretFile(const std::string&, const std::string&) {
  SHEAF_CHECK(false);
  return {};
}

int RunMemberPool(const PoolOptions&) {
  SHEAF_CHECK(false);
  return kExitFailed;
}

}  // namespace sheaf::cli
