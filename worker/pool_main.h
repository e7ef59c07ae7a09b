// The pool daemon's entry. One per machine (or per embedded driver): owns the shared memory, lends workers, buries
// the dead. Runs until its supervisor, a stop request or, embedded, its driver ends it.
#pragma once

#include <functional>

#include "worker/pool_options.h"
#include "worker/pool_view.h"

namespace sheaf {

// Gets the pool's view when it is ready, and then at least once a second. Called on the pool's thread: must not block.
using ViewSink = std::function<void(const PoolView&)>;

// Returns the process's exit code: 0 after an orderly stop, 1 when it could not start (the reason is on stderr).
// `on_view` feeds the link to a scheduler; without it the pool may sleep as long as it likes.
int RunPool(const PoolOptions& options, const ViewSink& on_view = nullptr);

}  // namespace sheaf
