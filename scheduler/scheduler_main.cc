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
#include "scheduler/ticket.h"

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

// The cluster's authority, made once; the scheduler's own certificate and the admin's, renewed at a start when half of
// their life is over.
bool PrepareSecurity(const std::string& state_dir, const std::string& cluster, Security* security,
                     std::string* reason) {
  constexpr std::int64_t kOwnSeconds = std::int64_t{365} * 86'400;
  const std::string pki = state_dir + "/pki";
  security->cluster = cluster;
  security->tokens = state_dir + "/tokens";
  if (!MakePrivateDirectory(pki, reason)) return false;
  try {
    const Credentials kept = ReadCredentials(pki + "/authority");
    if (kept.ok()) {
      security->authority = {kept.key, kept.certificate};
    } else {
      security->authority = NewAuthority(cluster);
      const Authority& made = security->authority;
      *reason = WriteCredentials(pki + "/authority", {made.key, made.certificate, made.certificate});
      if (!reason->empty()) return false;
    }
    for (const std::string role : {"scheduler", "admin"}) {
      Credentials own = ReadCredentials(pki + "/" + role);
      if (!own.ok() || SecondsLeft(own.certificate) < kOwnSeconds / 2 ||
          !IsSignedBy(own.certificate, security->authority.certificate)) {
        own.key = NewKey();
        const auto certificate = Sign(security->authority, NewRequest(own.key), {cluster, role, "1"}, kOwnSeconds);
        if (!certificate) throw std::runtime_error("the cluster's authority cannot sign");
        own.certificate = *certificate;
        own.authority = security->authority.certificate;
        *reason = WriteCredentials(pki + "/" + role, own);
        if (!reason->empty()) return false;
      }
      if (role == "scheduler") security->own = own;
    }
  } catch (const std::exception& error) {
    *reason = error.what();
    return false;
  }
  return true;
}

// Signs what pools are granted; made once for the life of the cluster.
std::string TakeSecret(const std::string& path, std::string* reason) {
  constexpr std::size_t kBytes = 32;
  std::string secret(kBytes, '\0');
  const int old = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (old >= 0) {
    const ssize_t got = read(old, secret.data(), kBytes);
    close(old);
    if (got == static_cast<ssize_t>(kBytes)) return secret;
    *reason = path + " is damaged: remove it; grants in use will be void";
    return {};
  }
  try {
    secret = NewSecret();
  } catch (const std::exception& error) {
    *reason = error.what();
    return {};
  }
  *reason = WriteFile(path, secret);
  return reason->empty() ? secret : std::string();
}

}  // namespace

Outcome RunScheduler(const SchedulerOptions& options, const std::function<bool(const ReadyScheduler&)>& on_ready) {
  const ListenAddress listen = ParseListenAddress(options.listen);
  if (listen.fault == ListenAddress::Fault::kMalformed) {
    LogLine(listen.reason);
    return Outcome::kUsage;
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

  const std::string secret = TakeSecret(options.state_dir + "/secret", &reason);
  if (secret.empty()) {
    LogLine(reason);
    return Outcome::kFailed;
  }

  SchedulerCore::Config config;
  config.cluster_id = state.cluster_id;
  config.epoch = state.epoch;
  config.limits.lost_after = Time{options.lost_after_ms} * 1'000'000;
  ClusterView about;
  about.pid = static_cast<std::uint32_t>(getpid());
  about.version = options.version;
  SchedulerLoop loop(config, state.pools, std::move(store), about, LogLine, std::move(state.grants));
  loop.set_secret(secret);
  Security security;
  const bool reachable = listen.fault == ListenAddress::Fault::kNotLocal;
  if (reachable && !PrepareSecurity(options.state_dir, state.cluster_id, &security, &reason)) {
    LogLine(reason);
    return Outcome::kFailed;
  }
  std::unique_ptr<SchedulerService> service =
      SchedulerService::Open(listen, &loop, &reason, reachable ? &security : nullptr);
  if (!service) {
    LogLine(reason);
    return Outcome::kFailed;
  }
  loop.set_address(service->address());
  if (reason = WriteFile(options.state_dir + "/address", service->address()); !reason.empty()) LogLine(reason);
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
