#include "cli/token_command.h"

#include <cstdio>
#include <cstdlib>

#include "cli/cluster_part.h"
#include "cli/exit_code.h"

namespace sheaf::cli {

std::string StateHome() {
  if (const char* xdg = std::getenv("XDG_STATE_HOME"); xdg != nullptr && xdg[0] == '/')
    return std::string(xdg) + "/sheaf";
  const char* home = std::getenv("HOME");
  if (home == nullptr || home[0] != '/') return {};
  return std::string(home) + "/.local/state/sheaf";
}

int RunTokenCreate(const TokenCreate& options, char** argv) {
  RequireClusterPart(argv);
  const std::string state = options.state_dir.empty() ? StateHome() + "/scheduler" : options.state_dir;
  std::string text, why, address = options.address;
  if (!MakeInvitation(state, options.minutes * 60, &address, &text, &why)) {
    std::fprintf(stderr, "sheaf: %s\n", why.c_str());
    return kExitFailed;
  }
  if (options.out.empty()) {
    std::fputs(text.c_str(), stdout);
    return std::fflush(stdout) == 0 ? kExitOk : kExitFailed;
  }
  if (const std::string fault = WriteSecretFile(options.out, text); !fault.empty()) {
    std::fprintf(stderr, "sheaf: %s\n", fault.c_str());
    return kExitFailed;
  }
  std::fprintf(stderr, "sheaf: good for one machine within %d minutes: sheaf pool start --join %s --token-file %s\n",
               options.minutes, address.c_str(), options.out.c_str());
  return kExitOk;
}

}  // namespace sheaf::cli
