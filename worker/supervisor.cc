#include "worker/supervisor.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <set>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/packet_socket.h"
#include "base/resource_limits.h"
#include "worker/child_start.h"
#include "worker/client_link.h"
#include "worker/pool_messages.h"

namespace sheaf {
namespace {

using wire::Kind;

constexpr std::int64_t kMilli = 1'000'000;
constexpr std::int64_t kKillAfterDrain = 2'000 * kMilli;  // beyond the pool's own deadline

class Supervisor {
 public:
  explicit Supervisor(const SupervisorOptions& options) : options_(options) {}
  int Run();

 private:
  bool StartPool();
  void HandleSignals();
  void HandlePool();
  void Spawn(const Packet& packet);
  void Reap();
  void Stop();
  void Send(std::span<const std::byte> bytes) {
    // Never waits: a pool that is stuck must not keep this process from killing it.
    if (!link_.Send(bytes, {}, NowNanos())) link_ = ClientLink(Fd());
  }
  template <typename T>
  void SendStruct(T message, Kind kind) {
    message.header = {kind, sizeof(T), 0};
    Send(std::as_bytes(std::span(&message, 1)));
  }

  const SupervisorOptions& options_;
  Fd signals_;
  ClientLink link_{Fd()};  // to the pool
  pid_t pool_ = 0;
  bool pool_gone_ = false;
  bool stopping_ = false;
  int pool_status_ = 0;
  std::int64_t kill_at_ = INT64_MAX;
  std::set<pid_t> workers_;
};

bool Supervisor::StartPool() {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
    std::perror("sheaf supervisor: socketpair");
    return false;
  }
  link_ = ClientLink(Fd(pair[0]));
  Fd pool_end(pair[1]);
  const char* path = options_.executable.empty() ? "/proc/self/exe" : options_.executable.c_str();
  Fd executable(open(path, O_RDONLY | O_CLOEXEC));
  ChildStart start;
  start.executable = executable.get();
  start.socket = pool_end.get();
  start.second = options_.pool.driver_fd;
  PoolOptions pool = options_.pool;
  pool.supervisor_fd = 3;
  if (pool.driver_fd >= 0) pool.driver_fd = 4;
  start.arguments = PoolArguments(pool);
  start.arguments.insert(start.arguments.begin(), "sheaf");
  for (char** at = environ; *at; ++at) start.environment.emplace_back(*at);
  int error = 0;
  pool_ = StartChild(start, &error);
  if (pool_ < 0) {
    std::fprintf(stderr, "sheaf supervisor: cannot start %s as the pool: %s\n", path, std::strerror(error));
    return false;
  }
  if (options_.pool.driver_fd >= 0) close(options_.pool.driver_fd);  // the pool's now: the driver sees its end
  return true;
}

int Supervisor::Run() {
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  prctl(PR_SET_NAME, "sheaf-supervise");
  sigset_t watched;
  sigemptyset(&watched);
  for (const int signal : {SIGCHLD, SIGTERM, SIGINT, SIGHUP}) sigaddset(&watched, signal);
  sigprocmask(SIG_BLOCK, &watched, nullptr);
  signals_ = Fd(signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_ || !StartPool()) return 1;
  while (!pool_gone_) {
    pollfd waits[2] = {{signals_.get(), POLLIN, 0}, {link_.fd(), POLLIN, 0}};
    if (link_.pending()) waits[1].events |= POLLOUT;
    int timeout = -1;
    if (kill_at_ != INT64_MAX) {
      timeout = static_cast<int>(std::max<std::int64_t>(0, (kill_at_ - NowNanos()) / kMilli + 1));
    }
    const int ready = poll(waits, 2, timeout);
    if (ready < 0 && errno != EINTR) break;
    if (NowNanos() >= kill_at_) kill(pool_, SIGKILL), kill_at_ = INT64_MAX;
    if (ready <= 0) continue;
    if ((waits[1].revents & POLLOUT) && !link_.Flush(NowNanos())) link_ = ClientLink(Fd());
    if (waits[1].revents & ~POLLOUT) HandlePool();
    if (waits[0].revents) HandleSignals();
  }
  // Everybody else ends with us: killed here, so that none of them outlives the exit code.
  for (const pid_t worker : workers_) kill(worker, SIGKILL);
  while (!workers_.empty()) {
    const pid_t pid = waitpid(-1, nullptr, 0);
    if (pid < 0 && errno != EINTR) break;
    workers_.erase(pid);
  }
  if (pool_ > 0 && WIFEXITED(pool_status_)) return WEXITSTATUS(pool_status_);
  if (!stopping_) std::fprintf(stderr, "sheaf supervisor: the pool died (signal %d)\n", WTERMSIG(pool_status_));
  return 1;
}

void Supervisor::HandleSignals() {
  signalfd_siginfo info;
  while (read(signals_.get(), &info, sizeof info) == sizeof info) {
    const int signal = static_cast<int>(info.ssi_signo);
    if (signal == SIGCHLD) {
      Reap();
    } else if (signal == SIGTERM || options_.pool.driver_fd < 0) {
      // Embedded, Ctrl-C and a hangup are for the driver; its end is ours.
      Stop();
    }
  }
}

void Supervisor::Stop() {
  if (stopping_) {  // asked twice: at once
    kill(pool_, SIGKILL);
    return;
  }
  stopping_ = true;
  kill_at_ = NowNanos() + options_.pool.drain_ms * kMilli + kKillAfterDrain;
  const wire::Header stop{Kind::kStop, sizeof stop, 0};
  Send(std::as_bytes(std::span(&stop, 1)));
}

void Supervisor::Reap() {
  while (true) {
    int status = 0;
    const pid_t pid = waitpid(-1, &status, WNOHANG);
    if (pid <= 0) return;
    if (pid == pool_) {
      pool_gone_ = true;
      pool_status_ = status;
    } else if (workers_.erase(pid)) {
      SHEAF_FAILPOINT("supervisor.exited");
      wire::Exited exited{};
      exited.pid = pid;
      exited.status = status;
      SendStruct(exited, Kind::kExited);
    }
  }
}

void Supervisor::HandlePool() {
  Packet packet;
  // One packet a turn, so that deaths are not kept waiting by a burst of spawns.
  switch (ReceivePacket(link_.fd(), limits::kWireBytesMax + 4096, false, &packet)) {
    case PacketResult::kOk:
      break;
    case PacketResult::kAgain:
      return;
    default:
      link_ = ClientLink(Fd());
      return;  // its exit follows
  }
  wire::Header header;
  if (packet.bytes.size() < sizeof header) return;
  std::memcpy(&header, packet.bytes.data(), sizeof header);
  if (header.kind == Kind::kSpawn) {
    Spawn(packet);
  } else if (header.kind == Kind::kKill && packet.bytes.size() == sizeof(wire::Exited)) {
    wire::Exited target;
    std::memcpy(&target, packet.bytes.data(), sizeof target);
    // Only a child that was not reaped yet, so the number cannot mean another process.
    if (workers_.contains(target.pid)) kill(target.pid, SIGKILL);
  } else if (header.kind == Kind::kDone && options_.on_ready) {
    options_.on_ready(pool_);
  }
}

void Supervisor::Spawn(const Packet& packet) {
  wire::Spawn spawn;
  if (packet.bytes.size() < sizeof spawn || packet.fds.size() != 4) return;
  std::memcpy(&spawn, packet.bytes.data(), sizeof spawn);
  const auto job =
      ParseJobDescription(std::span(packet.bytes).subspan(sizeof spawn), spawn.argument_count, spawn.environment_count);
  wire::Spawned spawned{};
  spawned.spawn = spawn.spawn;
  if (job) {
    ChildStart start;
    Fd own;
    if (spawn.relay) {
      own =
          Fd(open(options_.executable.empty() ? "/proc/self/exe" : options_.executable.c_str(), O_RDONLY | O_CLOEXEC));
      start.second = packet.fds[0].get();
    }
    start.executable = spawn.relay ? own.get() : packet.fds[0].get();
    start.standard_output = packet.fds[1].get();
    start.standard_error = packet.fds[2].get();
    start.socket = packet.fds[3].get();
    start.directory = job->directory;
    start.arguments = job->arguments;
    start.environment = job->environment;
    const std::string mark = std::string(wire::kWorkerLimitsEnvironment) + "=";
    std::erase_if(start.environment, [&](const std::string& text) {
      if (!text.starts_with(mark)) return false;
      // A relay is no part of the job, though it has the job's environment.
      if (auto limits = ParseSoftLimits(text.substr(mark.size())); limits && !spawn.relay) start.limits = *limits;
      return true;
    });
    spawned.pid = StartChild(start, &spawned.error);
  } else {
    spawned.error = EINVAL;
  }
  if (spawned.pid > 0) workers_.insert(spawned.pid);
  spawned.pid = std::max(spawned.pid, 0);
  SendStruct(spawned, Kind::kSpawned);
}

}  // namespace

int RunSupervisor(const SupervisorOptions& options) { return Supervisor(options).Run(); }

}  // namespace sheaf
