// `sheaf status`: asks the schedulers and pools that it finds, and shows what they say.
#pragma once

#include <string>

namespace sheaf::cli {

struct StatusRequest {
  std::string address;  // empty: whatever this user runs on this machine
  std::string pki;
  std::string format = "table";
  int timeout_s = 5;
};
int RunStatus(const StatusRequest& request, char** argv);

}  // namespace sheaf::cli
