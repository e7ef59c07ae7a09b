// The processes that start `sheaf` by themselves: the supervisor of an embedded pool, and every pool.
//
// On the way of Init: no CLI11, no gRPC, nothing before the role is known.
#pragma once

namespace sheaf::cli {

// `internal-pool ...` and `internal-supervisor ...`. False: the command line names neither.
bool RunInternalRole(int argc, char** argv, int* exit_code);

}  // namespace sheaf::cli
