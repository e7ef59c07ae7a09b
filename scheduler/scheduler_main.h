// `sheaf scheduler start`: opens the state, opens the door, runs until SIGTERM or SIGINT.
#pragma once

#include <functional>
#include <string>

namespace sheaf::scheduler {

struct SchedulerOptions {
  std::string listen;     // see listen_address.h
  std::string state_dir;  // made if absent, mode 0700; holds state.db
  int lost_after_ms = 5000;
  std::string version;
};

// How a daemon's start or run ended; cli/ turns it into an exit code.
enum class Outcome { kStopped, kFailed, kUsage, kRefused };

struct ReadyScheduler {
  std::string address, cluster_id;
  std::uint64_t epoch = 0;
};

// Call it while the process has one thread: it blocks SIGTERM and SIGINT for all that follow. `on_ready` is called once
// when the scheduler serves; false from it ends the start. Trouble is told on stderr.
Outcome RunScheduler(const SchedulerOptions& options, const std::function<bool(const ReadyScheduler&)>& on_ready);

}  // namespace sheaf::scheduler
