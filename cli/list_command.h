// `sheaf list pools|jobs|grants`: what a scheduler knows, as a table or as JSON.
#pragma once

#include <string>

#include "cli/cluster_question.h"

namespace sheaf::cli {

struct ListRequest {
  ClusterQuestion ask;
  std::string kind;  // "pools", "jobs" or "grants"
};
int RunList(const ListRequest& request, char** argv);

}  // namespace sheaf::cli
