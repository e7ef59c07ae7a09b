#include "scheduler/scheduler_main.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <memory>
#include <thread>

#include "scheduler/scheduler_loop.h"
#include "scheduler/scheduler_service.h"
#include "scheduler/sqlite_state.h"

namespace sheaf::scheduler {
namespace {

void LogLine(const std::string& text) {
  char stamp[32] = {};
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  std::strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%SZ", &parts);
  std::fprintf(stderr, "%s scheduler: %s\n", stamp, text.c_str());
}

// mkdir -p, the last of them for this user alone.
bool MakeDirectory(const std::string& path, std::string* reason) {
  for (std::size_t slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
    const std::string part = path.substr(0, slash);
    const bool last = slash == std::string::npos;
    if (mkdir(part.c_str(), last ? 0700 : 0755) != 0 && errno != EEXIST) {
      *reason = "cannot make " + part + ": " + std::strerror(errno);
      return false;
    }
    if (last) return true;
  }
}

}  // namespace

Outcome RunScheduler(const SchedulerOptions& options, const std::function<bool(const ReadyScheduler&)>& on_ready) {
  const ListenAddress listen = ParseListenAddress(options.listen);
  if (listen.fault != ListenAddress::Fault::kNone) {
    LogLine(listen.reason);
    return listen.fault == ListenAddress::Fault::kNotLocal ? Outcome::kRefused : Outcome::kUsage;
  }

  // Before any thread exists, so that all of them inherit it: only the signal thread takes these two.
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  sigset_t before;
  pthread_sigmask(SIG_BLOCK, &ends, &before);
  signal(SIGPIPE, SIG_IGN);

  std::string reason;
  if (!MakeDirectory(options.state_dir, &reason)) {
    LogLine(reason);
    return Outcome::kFailed;
  }
  auto store = std::make_unique<SqliteState>(options.state_dir + "/state.db");
  OpenedState state;
  if (const StateStatus status = store->Open(&state); !status.ok()) {
    LogLine(status.message);
    return Outcome::kFailed;
  }

  SchedulerCore::Config config;
  config.cluster_id = state.cluster_id;
  config.epoch = state.epoch;
  config.limits.lost_after = Time{options.lost_after_ms} * 1'000'000;
  ClusterView about;
  about.pid = static_cast<std::uint32_t>(getpid());
  about.version = options.version;
  SchedulerLoop loop(config, state.pools, std::move(store), about, LogLine);
  std::unique_ptr<SchedulerService> service = SchedulerService::Open(listen, &loop, &reason);
  if (!service) {
    LogLine(reason);
    return Outcome::kFailed;
  }
  loop.set_address(service->address());
  if (!on_ready({service->address(), state.cluster_id, state.epoch})) {
    loop.Stop();
    loop.Run();  // answers whoever has come already: the service waits for all of them
    return Outcome::kFailed;
  }

  std::thread signals([&] {
    int which = 0;
    sigwait(&ends, &which);
    if (which != 0) LogLine(std::string("stopping on ") + strsignal(which));
    loop.Stop();
  });
  loop.Run();
  signals.join();
  service->Close();
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return Outcome::kStopped;
}

}  // namespace sheaf::scheduler
