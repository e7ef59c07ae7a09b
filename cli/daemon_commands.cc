#include "cli/daemon_commands.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string_view>
#include <utility>
#include <vector>

#include "base/address.h"
#include "base/address_file.h"
#include "base/fd.h"
#include "cli/cluster_part.h"
#include "cli/exit_code.h"
#include "cli/pool_client.h"
#include "cli/token_command.h"
#include "cli/version.h"
#include "worker/supervisor.h"

namespace sheaf::cli {
namespace {

int Complain(const std::string& text, int exit_code) {
  std::fprintf(stderr, "sheaf: %s\n", text.c_str());
  return exit_code;
}

// Another process may run with another working directory: addresses are absolute.
std::string Absolute(const std::string& path) {
  char here[PATH_MAX];
  if (path.empty() || path[0] == '/' || getcwd(here, sizeof here) == nullptr) return path;
  return std::string(here) + "/" + path;
}

// The files that tell others where a daemon is; gone with this object.
class Announcement {
 public:
  Announcement() = default;
  Announcement(const Announcement&) = delete;
  Announcement& operator=(const Announcement&) = delete;
  ~Announcement() {
    for (const std::string& path : paths_) {
      if (ReadAddressFile(path) == address_) unlink(path.c_str());  // not a successor's
    }
  }

  bool Publish(const std::string& address, const std::vector<std::string>& paths) {
    address_ = address;
    for (const std::string& path : paths) {
      if (path.empty()) continue;
      std::string error;
      if (!WriteAddressFile(path, address, &error)) {
        Complain(error, 0);
        return false;
      }
      paths_.push_back(path);
    }
    return true;
  }

 private:
  std::string address_;
  std::vector<std::string> paths_;
};

// Sockets that pools have left behind which were killed: their names say which process it was.
void SweepSockets(const std::string& directory) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    const std::string name = entry.path().filename();
    unsigned pid = 0;
    int end = 0;
    if (std::sscanf(name.c_str(), "pool-%u.sock%n", &pid, &end) != 1 || end == 0 || pid == 0) continue;
    const std::string rest = name.substr(static_cast<std::size_t>(end));
    if (!rest.empty() && rest != ".transfers") continue;
    if (kill(static_cast<pid_t>(pid), 0) == 0 || errno != ESRCH) continue;
    // Its pool may outlive a supervisor for a moment.
    if (std::string why; Probe(entry.path(), &why) != Listener::kNobody) continue;
    unlink(entry.path().c_str());
  }
}

int UsableCores() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return CPU_COUNT(&set) > 0 ? CPU_COUNT(&set) : 1;
}

// The address of this machine that the one at `host` sees; empty: it cannot be reached at all.
std::string OwnAddressTowards(const scheduler::ListenAddress& other) {
  std::string host, port;
  if (!SplitAddress(other.host + ":" + std::to_string(other.port), &host, &port)) return {};
  addrinfo wish{}, *found = nullptr;
  wish.ai_socktype = SOCK_DGRAM;
  if (getaddrinfo(host.c_str(), port.c_str(), &wish, &found) != 0) return {};
  const Fd socket(::socket(found->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_storage own{};
  socklen_t size = sizeof own;
  char text[INET6_ADDRSTRLEN] = {};
  // Nothing is sent: connecting chooses the route.
  const bool routed =
      connect(socket.get(), found->ai_addr, found->ai_addrlen) == 0 &&
      getsockname(socket.get(), reinterpret_cast<sockaddr*>(&own), &size) == 0 &&
      getnameinfo(reinterpret_cast<sockaddr*>(&own), size, text, sizeof text, nullptr, 0, NI_NUMERICHOST) == 0;
  freeaddrinfo(found);
  if (!routed) return {};
  return own.ss_family == AF_INET6 ? "[" + std::string(text) + "]" : text;
}

std::string DefaultPoolId(bool with_pid) {
  char host[65] = {};
  gethostname(host, sizeof host - 1);
  std::string id(host);
  for (char& c : id) {
    const bool plain =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
    if (!plain) c = '-';
  }
  return with_pid ? id.substr(0, 48) + "-" + std::to_string(getpid()) : id.substr(0, 48);
}

// "auto": the one scheduler that this user runs here.
bool ResolveScheduler(const std::string& directory, std::string* address, std::string* reason) {
  if (*address != "auto") return true;
  std::string found;
  for (const FoundAddress& one : ListAnnounced(directory)) {
    if (one.kind != "scheduler") continue;
    if (!found.empty()) {
      *reason = "several schedulers run here; give the address of one (see sheaf status)";
      return false;
    }
    found = one.address;
  }
  if (found.empty()) {
    *reason = "no scheduler of this user runs here; start one with: sheaf scheduler start";
    return false;
  }
  *address = found;
  return true;
}

}  // namespace

int RunSchedulerStart(const SchedulerStart& options, char** argv) {
  RequireClusterPart(argv);
  std::string error;
  const std::string directory = RuntimeDirectory(&error);
  if (directory.empty()) return Complain(error, kExitFailed);
  const auto pid = static_cast<std::uint32_t>(getpid());
  scheduler::SchedulerOptions daemon;
  // The same for each life of it, so that pools find it again; unless there is another.
  daemon.listen = options.listen;
  if (daemon.listen.empty()) {
    daemon.listen = directory + "/scheduler.sock";
    if (Probe(daemon.listen, &error) != Listener::kNobody)
      daemon.listen = directory + "/scheduler-" + std::to_string(pid) + ".sock";
  }
  daemon.state_dir = options.state_dir.empty() ? StateHome() + "/scheduler" : Absolute(options.state_dir);
  if (options.state_dir.empty() && StateHome().empty()) return Complain("HOME is not set: give --state", kExitUsage);
  daemon.lost_after_ms = options.lost_after_s * 1000;
  daemon.version = kVersion;
  Announcement announcement;
  const std::string address_file = Absolute(options.address_file);
  const scheduler::Outcome outcome = StartScheduler(daemon, [&](const scheduler::ReadyScheduler& ready) {
    if (!announcement.Publish(ready.address, {AnnouncedPath(directory, "scheduler", pid), address_file})) {
      return false;
    }
    std::printf("sheaf scheduler ready: address %s cluster %s epoch %llu pid %u\n", ready.address.c_str(),
                ready.cluster_id.c_str(), static_cast<unsigned long long>(ready.epoch), pid);
    return std::fflush(stdout) == 0;
  });
  switch (outcome) {
    case scheduler::Outcome::kStopped:
      return kExitOk;
    case scheduler::Outcome::kUsage:
      return kExitUsage;
    case scheduler::Outcome::kRefused:
      return kExitRefused;
    case scheduler::Outcome::kFailed:
      break;
  }
  return kExitFailed;
}

int RunPoolStart(const PoolStart& options) {
  std::string error;
  const std::string directory = RuntimeDirectory(&error);
  if (directory.empty()) return Complain(error, kExitFailed);
  const auto pid = static_cast<std::uint32_t>(getpid());

  SweepSockets(directory);
  SupervisorOptions daemon;
  PoolOptions& pool = daemon.pool;
  pool.slots = std::stoi(options.workers);
  if (pool.slots < 0) pool.slots = UsableCores();
  pool.store_bytes = std::stoull(options.store_bytes);
  pool.drain_ms = options.drain_s * 1000;
  const bool both = !options.resources.empty() && !options.labels.empty();
  if (const std::string why = ParseNeeds(options.resources + (both ? "," : "") + options.labels, &pool.has);
      !why.empty())
    return Complain("--resources, --labels: " + why, kExitUsage);
  pool.pool_id = options.pool_id.empty() ? DefaultPoolId(options.join.empty()) : options.pool_id;
  pool.socket_path = options.socket_path.empty() ? directory + "/pool-" + std::to_string(pid) + ".sock"
                                                 : Absolute(options.socket_path);
  if (pool.socket_path.size() > 107) {
    return Complain("the path of a unix socket has at most 107 bytes: " + pool.socket_path, kExitUsage);
  }
  if (Probe(pool.socket_path, &error) != Listener::kNobody) {
    return Complain("somebody listens on " + pool.socket_path + " already; see sheaf status", kExitFailed);
  }
  pool.scheduler = options.join.empty() ? options.scheduler : options.join;
  if (!ResolveScheduler(directory, &pool.scheduler, &error)) return Complain(error, kExitNotFound);
  if (!pool.scheduler.empty()) {
    const auto address = scheduler::ParseListenAddress(pool.scheduler);
    const bool remote = address.fault == scheduler::ListenAddress::Fault::kNotLocal;
    if (!options.join.empty() && address.fault != scheduler::ListenAddress::Fault::kMalformed &&
        address.unix_path.empty()) {
      pool.token_file = Absolute(options.token_file);
      pool.pki_directory = options.pki.empty() ? StateHome() + "/pools/" + pool.pool_id : Absolute(options.pki);
      if (options.pki.empty() && StateHome().empty()) return Complain("HOME is not set: give --pki", kExitUsage);
    } else if (address.fault != scheduler::ListenAddress::Fault::kNone) {
      const bool refused = address.fault == scheduler::ListenAddress::Fault::kNotLocal;
      return Complain(address.reason, refused ? kExitRefused : kExitUsage);
    }
    pool.scheduler = address.grpc;
    pool.relay_listen = options.relay_listen.empty() ? "127.0.0.1:0" : options.relay_listen;
    if (remote && options.relay_listen.empty()) {
      const std::string own = OwnAddressTowards(address);
      if (own.empty()) return Complain("no route to " + address.grpc, kExitUnreachable);
      pool.relay_listen = own + ":0";
    }
    pool.relay_address = options.relay_address;
  } else if (pool.slots == 0) {
    return Complain("a pool without workers is of use in a cluster only: give --scheduler, or --workers", kExitUsage);
  }

  Announcement announcement;
  bool announced = true;
  const std::string address_file = Absolute(options.address_file);
  daemon.on_ready = [&](pid_t pool_pid) {
    announced = announcement.Publish(pool.socket_path, {AnnouncedPath(directory, "pool", pid), address_file});
    if (announced) {
      // As status shows it; signals are for this process, the supervisor.
      std::printf("sheaf pool ready: address %s workers %d pid %d supervisor %u\n", pool.socket_path.c_str(),
                  pool.slots, static_cast<int>(pool_pid), pid);
      std::fflush(stdout);
    } else {
      raise(SIGTERM);  // nobody would find it: end as if asked to
    }
  };
  const int code = RunSupervisor(daemon);
  return announced ? code : kExitFailed;
}

}  // namespace sheaf::cli
