// `sheaf token create`: beside the scheduler, an invitation for one machine.
#pragma once

#include <string>

namespace sheaf::cli {

struct TokenCreate {
  std::string state_dir;  // empty: the default
  std::string out;        // file; empty: stdout
  std::string address;    // empty: where the scheduler listens
  int minutes = 60;
};
int RunTokenCreate(const TokenCreate& options, char** argv);

// $XDG_STATE_HOME/sheaf or ~/.local/state/sheaf; empty without a home.
std::string StateHome();

}  // namespace sheaf::cli
