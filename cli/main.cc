// `sheaf`: one command for daemons and people, and the executable behind every embedded pool.

#include "base/standard_streams.h"
#include "cli/command_line.h"
#include "cli/internal_roles.h"

int main(int argc, char** argv) {
  sheaf::OpenStandardStreams();
  int exit_code = 0;
  if (sheaf::cli::RunInternalRole(argc, argv, &exit_code)) return exit_code;
  return sheaf::cli::RunCommandLine(argc, argv);
}
