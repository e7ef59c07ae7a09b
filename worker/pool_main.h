// The pool daemon's entry. One per machine (or per embedded driver): owns the shared memory, lends workers, buries
// the dead. Runs until its supervisor, a stop request or, embedded, its driver ends it.
#pragma once

#include "worker/pool_options.h"

namespace sheaf {

// Returns the process's exit code: 0 after an orderly stop, 1 when it could not start (the reason is on stderr).
int RunPool(const PoolOptions& options);

}  // namespace sheaf
