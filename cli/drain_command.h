// `sheaf drain POOL`: a pool hands over what it runs for others, and ends.
#pragma once

#include <string>

namespace sheaf::cli {

struct DrainRequest {
  std::string pool, address, pki;
  int timeout_s = 60;
};
int RunDrain(const DrainRequest& request, char** argv);

}  // namespace sheaf::cli
