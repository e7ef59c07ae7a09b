// `sheaf launch ssh HOST...`: a cluster on machines that ssh reaches, and its end.
#pragma once

#include <string>
#include <vector>

namespace sheaf::cli {

struct LaunchRequest {
  std::vector<std::string> hosts;
  std::string listen;            // IP:PORT of the scheduler, started if it does not run yet
  std::string ssh = "ssh";       // words of the command that reaches a host
  std::string remote = "sheaf";  // the command there
  std::string workers = "auto";
  bool down = false;
  int timeout_s = 60;
};
int RunLaunch(const LaunchRequest& request, char** argv);

}  // namespace sheaf::cli
