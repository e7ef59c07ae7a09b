// `sheaf get pool NAME` and `sheaf get job POOL/NUMBER`: all that a scheduler knows of one.
#pragma once

#include <string>

#include "cli/cluster_question.h"

namespace sheaf::cli {

struct GetRequest {
  ClusterQuestion ask;
  std::string kind;  // "pool" or "job"
  std::string name;
};
int RunGet(const GetRequest& request, char** argv);

}  // namespace sheaf::cli
