#include "cli/list_command.h"

#include "cli/exit_code.h"
#include "cli/placement_text.h"

namespace sheaf::cli {

int RunList(const ListRequest& request, char** argv) {
  const Kind kind = request.kind == "pools" ? Kind::kPools : request.kind == "jobs" ? Kind::kJobs : Kind::kGrants;
  const ClusterReply reply = AskCluster(request.ask, argv);
  const NoAnswer none{reply.address, reply.reason};
  if (request.ask.format == "json")
    return Answer(reply, ListJson(kind, reply.view, reply.ok() ? nullptr : &none), kExitOk);
  return Answer(reply, reply.ok() ? ListTable(kind, reply.view) : "", kExitOk);
}

}  // namespace sheaf::cli
