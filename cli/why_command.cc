#include "cli/why_command.h"

#include <cstdio>

#include "cli/exit_code.h"
#include "cli/placement_text.h"

namespace sheaf::cli {

int RunWhy(const WhyRequest& request, char** argv) {
  const auto job = ParseJobName(request.job);
  if (!job) {
    std::fprintf(stderr, "sheaf: '%s' is no job's name: POOL/NUMBER, as sheaf list jobs shows it\n",
                 request.job.c_str());
    return kExitUsage;
  }
  const ClusterReply reply = AskCluster(request.ask, argv);
  const auto why = scheduler::Why(reply.view, job->pool, job->number);
  const NoAnswer none{reply.address, reply.reason};
  const std::string text = request.ask.format == "json" ? WhyJson(reply.view, *job, why, reply.ok() ? nullptr : &none)
                           : why                        ? WhyText(*why)
                                                        : "";
  const int code = Answer(reply, text, why ? kExitOk : kExitNotFound);
  if (reply.ok() && !why) std::fprintf(stderr, "sheaf: %s\n", NoSuchJob(reply.view, *job).c_str());
  return code;
}

}  // namespace sheaf::cli
