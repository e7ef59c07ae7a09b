// What the `sheaf` command's exit codes mean; the same for every subcommand, listed in `sheaf --help`.
#pragma once

namespace sheaf::cli {

enum ExitCode {
  kExitOk = 0,
  kExitFailed = 1,       // the operation failed
  kExitUsage = 2,        // the command line makes no sense
  kExitUnreachable = 3,  // nothing answers at the address, or nothing runs
  kExitNotFound = 4,     // no such thing
  kExitRefused = 5,      // not permitted, and why
  kExitVersion = 6,      // the other side speaks another version
  kExitTimeout = 124,
};

}  // namespace sheaf::cli
