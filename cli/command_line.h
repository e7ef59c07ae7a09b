// Parses what people type, and runs it. Help texts, flags and their environment variables are here and nowhere else.
#pragma once

namespace sheaf::cli {

// Returns the exit code (exit_code.h).
int RunCommandLine(int argc, char** argv);

}  // namespace sheaf::cli
