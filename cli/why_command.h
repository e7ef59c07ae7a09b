// `sheaf why POOL/NUMBER`: why a job has no (more) slots on other pools.
#pragma once

#include <string>

#include "cli/cluster_question.h"

namespace sheaf::cli {

struct WhyRequest {
  ClusterQuestion ask;
  std::string job;
};
int RunWhy(const WhyRequest& request, char** argv);

}  // namespace sheaf::cli
