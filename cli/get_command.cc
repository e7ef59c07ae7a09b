#include "cli/get_command.h"

#include <cstdio>

#include "cli/exit_code.h"
#include "cli/placement_text.h"

namespace sheaf::cli {

int RunGet(const GetRequest& request, char** argv) {
  const bool pool = request.kind == "pool";
  const auto job = pool ? JobName{} : ParseJobName(request.name);
  if (!job) {
    std::fprintf(stderr, "sheaf: '%s' is no job's name: POOL/NUMBER, as sheaf list jobs shows it\n",
                 request.name.c_str());
    return kExitUsage;
  }
  const ClusterReply reply = AskCluster(request.ask, argv);
  const std::string table = pool ? PoolTable(reply.view, request.name) : JobTable(reply.view, *job);
  const bool found = !table.empty();
  std::string text = table;
  if (request.ask.format == "json") {
    const NoAnswer missing{reply.address, reply.reason};
    const NoAnswer* none = reply.ok() ? nullptr : &missing;
    text = pool ? PoolJson(reply.view, request.name, none) : JobJson(reply.view, *job, none);
  }
  const int code = Answer(reply, text, found ? kExitOk : kExitNotFound);
  if (!reply.ok() || found) return code;
  if (pool) {
    std::fprintf(stderr, "sheaf: no pool is named %s; see sheaf list pools\n", request.name.c_str());
  } else {
    std::fprintf(stderr, "sheaf: %s\n", NoSuchJob(reply.view, *job).c_str());
  }
  return code;
}

}  // namespace sheaf::cli
