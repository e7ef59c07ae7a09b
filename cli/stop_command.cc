#include "cli/stop_command.h"

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "base/address_file.h"
#include "base/fd.h"
#include "cli/cluster_part.h"
#include "cli/exit_code.h"
#include "cli/pool_client.h"

namespace sheaf::cli {
namespace {

using Clock = std::chrono::steady_clock;

// The process to signal for the daemon at `address`; 0: nobody there, see `reason`.
pid_t FindDaemon(const std::string& address, char** argv, std::string* reason) {
  const scheduler::ListenAddress parsed = scheduler::ParseListenAddress(address);
  if (parsed.fault == scheduler::ListenAddress::Fault::kNotLocal) {
    // Its pid is of this machine only if it has announced itself here.
    std::string error;
    for (const FoundAddress& one : ListAnnounced(RuntimeDirectory(&error)))
      if (one.kind == "scheduler" && one.address == address) return static_cast<pid_t>(one.pid);
    *reason = address + " is not on this machine: stop it where it runs";
    return 0;
  }
  if (parsed.fault != scheduler::ListenAddress::Fault::kNone) {
    *reason = parsed.reason;
    return 0;
  }
  if (parsed.unix_path.empty()) {
    RequireClusterPart(argv);
    const ClusterAnswer answer = AskScheduler(parsed, std::chrono::seconds(5));
    *reason = answer.reason;
    return answer.ok ? static_cast<pid_t>(answer.view.pid) : 0;
  }
  const Listener listener = Probe(parsed.unix_path, reason);
  if (listener == Listener::kNobody) return 0;
  const pid_t pid = ListenerPid(parsed.unix_path);
  if (pid <= 0) {
    *reason = parsed.unix_path + ": nobody listens there any more";
    return 0;
  }
  if (listener == Listener::kPool) {
    // The supervisor outlives its pool, and knows that an end was asked for.
    const PoolAnswer answer = AskPool(parsed.unix_path, std::chrono::seconds(5));
    if (answer.ok && answer.view.pid == static_cast<std::uint32_t>(pid) && answer.view.supervisor_pid > 1) {
      return static_cast<pid_t>(answer.view.supervisor_pid);
    }
  }
  return pid;
}

int StopOne(const std::string& address, Clock::time_point deadline, char** argv) {
  std::string reason;
  const pid_t pid = FindDaemon(address, argv, &reason);
  if (pid <= 1) {
    std::fprintf(stderr, "sheaf: %s\n", About(address, reason).c_str());
    const bool malformed = scheduler::ParseListenAddress(address).fault == scheduler::ListenAddress::Fault::kMalformed;
    return malformed ? kExitUsage : kExitUnreachable;
  }
  const Fd process(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!process || syscall(SYS_pidfd_send_signal, process.get(), SIGTERM, nullptr, 0) != 0) {
    if (errno == ESRCH) return kExitOk;
    std::fprintf(stderr, "sheaf: %s: process %d: %s\n", address.c_str(), static_cast<int>(pid), std::strerror(errno));
    return errno == EPERM ? kExitRefused : kExitFailed;
  }
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
    pollfd ended{process.get(), POLLIN, 0};
    const int got = poll(&ended, 1, std::max(static_cast<int>(left.count()), 0));
    if (got < 0 && errno == EINTR) continue;
    if (got > 0) {
      std::printf("stopped %s\n", address.c_str());
      return kExitOk;
    }
    std::fprintf(stderr,
                 "sheaf: %s: process %d was asked to stop and still runs; wait, or end it with: "
                 "kill -9 %d\n",
                 address.c_str(), static_cast<int>(pid), static_cast<int>(pid));
    return kExitTimeout;
  }
}

}  // namespace

int RunStop(const StopRequest& request, char** argv) {
  std::vector<std::string> addresses;
  std::string given = request.address;
  if (const char* variable = std::getenv("SHEAF_ADDRESS"); variable != nullptr && given.empty()) {
    given = variable;
  }
  if (!given.empty() && !request.all) {
    addresses.push_back(given);
  } else {
    std::string error;
    const std::string directory = RuntimeDirectory(&error);
    if (directory.empty()) {
      std::fprintf(stderr, "sheaf: %s\n", error.c_str());
      return kExitFailed;
    }
    // "pool" sorts before "scheduler": pools take their leave of a scheduler that is still there.
    for (const FoundAddress& one : ListAnnounced(directory)) addresses.push_back(one.address);
    if (addresses.empty()) {
      std::fprintf(stderr, "sheaf: nothing of this user runs on this machine\n");
      return request.all ? kExitOk : kExitNotFound;
    }
    if (!request.all && addresses.size() > 1) {
      std::fprintf(stderr, "sheaf: several daemons run here: give --address or --all\n");
      for (const std::string& one : addresses) std::fprintf(stderr, "  %s\n", one.c_str());
      return kExitUsage;
    }
  }
  // TCP needs gRPC: become the larger half before the first signal is sent.
  for (const std::string& one : addresses) {
    const scheduler::ListenAddress address = scheduler::ParseListenAddress(one);
    const bool sound = address.fault == scheduler::ListenAddress::Fault::kNone;
    if (sound && address.unix_path.empty()) RequireClusterPart(argv);
  }
  const Clock::time_point deadline = Clock::now() + std::chrono::seconds(request.timeout_s);
  int worst = kExitOk;
  for (const std::string& one : addresses) worst = std::max(worst, StopOne(one, deadline, argv));
  return worst;
}

}  // namespace sheaf::cli
