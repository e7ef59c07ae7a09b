#include "worker/pool_server.h"

#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <thread>

#include "base/check.h"
#include "base/clock.h"
#include "worker/pool_main.h"
#include "worker/pool_send.h"

namespace sheaf {
namespace {

constexpr std::size_t kUnattachedMax = 128;

std::uint64_t HalfOfMemory() {
  struct sysinfo info{};
  sysinfo(&info);
  return std::uint64_t{info.totalram} * info.mem_unit / 2;
}

ucred PeerOf(int socket) {
  ucred who{0, static_cast<uid_t>(-1), 0};
  socklen_t size = sizeof who;
  getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &who, &size);
  return who;
}

}  // namespace

PoolServer::PoolServer(const PoolOptions& options) : options_(options) {}
PoolServer::~PoolServer() {
  if (!options_.socket_path.empty() && listener_) unlink(options_.socket_path.c_str());
  if (transfer_listener_) unlink(TransferPath().c_str());
}

bool PoolServer::Start(std::string* reason) {
  now_ = started_ = NowNanos();
  cores_ = std::max(1u, std::thread::hardware_concurrency());
  const int fewest = neighbours_ ? 0 : 1;
  slots_ = options_.slots >= fewest ? static_cast<std::uint32_t>(options_.slots) : cores_;
  // Every segment is a descriptor.
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
  }
  sigset_t ignored;  // the supervisor decides when we end
  sigemptyset(&ignored);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) sigaddset(&ignored, signal);
  sigprocmask(SIG_BLOCK, &ignored, nullptr);

  PoolCore::Config config;
  config.pairs = std::min(limits::kPairsMax, slots_ + limits::kPairsSpare + (neighbours_ ? limits::kRelaysSpare : 0));
  config.budget_bytes = options_.store_bytes ? options_.store_bytes : HalfOfMemory();
  core_ = std::make_unique<PoolCore>(config);
  leases_ = MakeLeases(config.pairs);
  epoll_ = Fd(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_ || !page_.Open(slots_, cores_) || !Watch(maker_.ready_fd(), EPOLLIN, kTagMaker)) {
    *reason = std::string("cannot set up its memory: ") + std::strerror(errno);
    return false;
  }
  if (options_.supervisor_fd >= 0) {
    supervisor_ = std::make_unique<ClientLink>(Fd(options_.supervisor_fd));
    Watch(options_.supervisor_fd, EPOLLIN, kTagSupervisor);
  }
  if (options_.driver_fd >= 0) embedded_ = AddConnection(Fd(options_.driver_fd), PeerOf(options_.driver_fd).pid);
  if (!options_.socket_path.empty() && !Listen(reason)) return false;
  if (neighbours_ && (!ListenForRelays(reason) || !Watch(neighbours_->fd(), EPOLLIN, kTagNews))) return false;
  const wire::Bare ready{{wire::Kind::kDone, sizeof(wire::Bare), 0}};
  ToSupervisor(std::as_bytes(std::span(&ready, 1)), {});
  return true;
}

bool PoolServer::Listen(std::string* reason) {
  const std::string& path = options_.socket_path;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    *reason = "the socket's path is longer than " + std::to_string(sizeof address.sun_path - 1) + " bytes: " + path;
    return false;
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  const auto* name = reinterpret_cast<const sockaddr*>(&address);
  Fd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  // A socket file that nobody listens on is what a killed pool left behind.
  if (socket && connect(socket.get(), name, sizeof address) == 0) {
    *reason = "a pool listens on " + path + " already";
    return false;
  }
  if (errno == ECONNREFUSED) unlink(path.c_str());
  socket = Fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const mode_t before = umask(0177);
  const bool bound = socket && bind(socket.get(), name, sizeof address) == 0 && listen(socket.get(), 128) == 0;
  umask(before);
  if (!bound) {
    *reason = "cannot listen on " + path + ": " + std::strerror(errno);
    return false;
  }
  listener_ = std::move(socket);
  return Watch(listener_.get(), EPOLLIN, kTagListener);
}

bool PoolServer::Watch(int fd, std::uint32_t events, std::uint64_t tag) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = tag;
  return epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0;
}

int PoolServer::Run() {
  PrepareSets(true);
  while (!ended_) {
    Now next = NextDeadline();
    if (prepared_.empty()) next = std::min(next, std::max(now_ + kQuiet, prepare_at_));
    int timeout = -1;
    if (next != INT64_MAX) timeout = static_cast<int>(std::clamp<Now>((next - NowNanos()) / kMilli + 1, 0, 60'000));
    epoll_event events[64];
    const int count = epoll_wait(epoll_.get(), events, 64, timeout);
    now_ = NowNanos();
    for (int i = 0; i < count && !ended_; ++i) {
      const std::uint64_t tag = events[i].data.u64;
      const std::uint64_t number = tag & ~kTagMask;
      if (tag == kTagListener) {
        AcceptAll();
      } else if (tag == kTagSupervisor) {
        ReadSupervisor();
      } else if (tag == kTagMaker) {
        TakeMade();
      } else if (tag == kTagRelays) {
        AcceptRelays();
      } else if (tag == kTagNews) {
        TakeNews();
      } else if ((tag & kTagMask) == kTagProcess) {
        const auto driver = static_cast<ClientId>(number);
        // What it said before it died counts, its goodbye above all.
        if (const Connection* its = ConnectionOf(driver)) ReadToTheEnd(its->number);
        DriverGone(driver, true);
      } else if (Connection* connection = FindConnection(number)) {
        if (events[i].events & EPOLLOUT) {
          if (!connection->link.Flush(now_)) Closed(*connection);
          WatchWritable(*connection);
        }
        if (events[i].events & ~static_cast<std::uint32_t>(EPOLLOUT)) ReadConnection(number);
      }
    }
    Timers();
    TellFailedSpawns();
    if (neighbours_) {
      TendRelays();
      TellWhoWaits();
    }
    EraseClosed();
    if (!ended_) PrepareSets(count == 0);
  }
  for (const auto& [number, request] : stop_requests_) {
    if (Connection* connection = FindConnection(number)) {
      Send(*connection, wire::Kind::kDone, request, wire::Bare{});
    }
  }
  return exit_code_;
}

void PoolServer::WatchSupervisor(bool writable) {
  epoll_event event{};
  event.events = EPOLLIN | (writable ? std::uint32_t{EPOLLOUT} : 0u);
  event.data.u64 = kTagSupervisor;
  epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, supervisor_->fd(), &event);
}

std::uint64_t PoolServer::AddConnection(Fd socket, pid_t pid) {
  const int fd = socket.get();
  auto connection = std::make_unique<Connection>(std::move(socket));
  connection->number = next_connection_++;
  connection->pid = pid;
  connection->opened = now_;
  if (!Watch(fd, EPOLLIN, kTagConnection | connection->number)) return 0;
  const std::uint64_t number = connection->number;
  connections_.emplace(number, std::move(connection));
  return number;
}

PoolServer::Connection* PoolServer::FindConnection(std::uint64_t number) {
  const auto at = connections_.find(number);
  return at == connections_.end() || at->second->closed ? nullptr : at->second.get();
}

PoolServer::Connection* PoolServer::ConnectionOf(ClientId client) {
  const auto at = memory_.find(client);
  return at == memory_.end() ? nullptr : FindConnection(at->second.connection);
}

void PoolServer::AcceptAll() {
  while (true) {
    Fd socket(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket) return;
    const ucred who = PeerOf(socket.get());
    // The directory keeps others out already; this holds even if somebody loosened it.
    if (who.uid != geteuid()) continue;
    const auto silent =
        std::count_if(connections_.begin(), connections_.end(), [](const auto& at) { return at.second->client == 0; });
    if (static_cast<std::size_t>(silent) >= kUnattachedMax) continue;
    AddConnection(std::move(socket), who.pid);
  }
}

bool PoolServer::ReadConnection(std::uint64_t number) {
  // A few packets a turn: one busy client does not keep the others waiting.
  for (int turn = 0; turn < 16; ++turn) {
    Connection* connection = FindConnection(number);
    if (!connection) return false;
    Packet packet;
    switch (ReceivePacket(connection->link.fd(), limits::kWireBytesMax, false, &packet)) {
      case PacketResult::kOk:
        break;
      case PacketResult::kAgain:
        return false;
      case PacketResult::kClosed:
        Closed(*connection);
        return false;
      case PacketResult::kInvalid:
        Refuse(*connection, 0, wire::Refusal::kInvalid, "a packet that is too long, or with too many descriptors");
        Cut(*connection, "an oversized packet");
        return false;
    }
    std::string reason;
    auto message = ParseClientMessage(packet.bytes, packet.fds.size(), &reason);
    if (!message) {
      Refuse(*connection, 0, wire::Refusal::kInvalid, reason);
      Cut(*connection, reason);
      return false;
    }
    Handle(*connection, std::move(*message), std::move(packet.fds));
  }
  return true;
}

void PoolServer::ReadAll(std::uint64_t number) {
  for (int turn = 0; turn < 32 && ReadConnection(number); ++turn) {
  }
}

void PoolServer::ReadToTheEnd(std::uint64_t number) {
  while (ReadConnection(number)) {
  }
}

void PoolServer::SendPacketTo(Connection& connection, std::span<const std::byte> bytes, std::span<const int> fds) {
  if (connection.closed) return;
  if (!connection.link.Send(bytes, fds, now_)) {
    connection.link.overflowed() ? Cut(connection, "it does not read its socket") : Closed(connection);
    return;
  }
  WatchWritable(connection);
  if (connection.client) page_.Ring(connection.client);
}

void PoolServer::WatchWritable(Connection& connection) {
  const bool wanted = connection.link.pending();
  if (connection.closed || wanted == connection.writable_watched) return;
  epoll_event event{};
  event.events = EPOLLIN | (wanted ? std::uint32_t{EPOLLOUT} : 0u);
  event.data.u64 = kTagConnection | connection.number;
  epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, connection.link.fd(), &event);
  connection.writable_watched = wanted;
}

void PoolServer::Refuse(Connection& connection, std::uint64_t request, wire::Refusal why, std::string_view text,
                        std::uint32_t shape) {
  Send(connection, wire::Kind::kRefused, request, wire::Refused{{}, why, shape}, {}, text.substr(0, 4096));
}

// Ends a connection because of what the peer did. A worker dies for it, a driver loses its job.
void PoolServer::Cut(Connection& connection, std::string_view why) {
  if (connection.closed) return;
  if (connection.client || connection.spawn) {
    std::fprintf(stderr, "sheaf pool: process %d is cut off: %.*s\n", static_cast<int>(connection.pid),
                 static_cast<int>(why.size()), why.data());
  }
  Closed(connection);
}

void PoolServer::Closed(Connection& connection) {
  if (connection.closed) return;
  connection.closed = true;  // the socket itself is closed at the end of this turn
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, connection.link.fd(), nullptr);
  if (connection.spawn) {
    // The supervisor's report of its exit is the death; this makes sure that there is one.
    if (const auto at = spawns_.find(connection.spawn); at != spawns_.end()) Kill(at->second);
  } else if (connection.client) {
    const auto at = memory_.find(connection.client);
    pollfd process{at == memory_.end() ? -1 : at->second.process.get(), POLLIN, 0};
    DriverGone(connection.client, poll(&process, 1, 0) == 1);
  } else if (connection.number == embedded_) {
    ended_ = true;
  }
}

void PoolServer::EraseClosed() {
  std::erase_if(connections_, [](const auto& at) { return at.second->closed; });
}

PoolServer::Now PoolServer::NextDeadline() const {
  Now next = std::min({stop_at_, drain_until_, leases_->NextDeadline()});
  for (const auto& [number, connection] : connections_) {
    if (connection->closed) continue;
    next = std::min(next, connection->link.stall_deadline());
    if (!connection->client && !connection->spawn && number != embedded_) {
      next = std::min(next, connection->opened + kAttachMax);
    }
  }
  for (const auto& [client, memory] : memory_) next = std::min(next, memory.kill_at);
  if (!short_.empty()) next = std::min(next, short_.front().until);
  for (const auto& [driver, job] : jobs_) {
    for (const auto& [shape, since] : job.relays_idle_since)
      next = std::min(next, now_ < since + kRelayIdleInTheWay ? since + kRelayIdleInTheWay : since + kRelayIdle);
    for (const auto& [shape, since] : job.relays_beyond_since) next = std::min(next, since + kRelayIdle);
    for (const auto& [shape, trouble] : job.relay_trouble)
      if (trouble.again > now_) next = std::min(next, trouble.again);
  }
  return on_view_ ? std::min(next, view_at_) : next;
}

void PoolServer::Timers() {
  if (leases_->NextDeadline() <= now_) Tell(lease::Tick{});
  std::vector<std::uint64_t> stalled;
  for (auto& [number, connection] : connections_) {
    if (connection->closed) continue;
    if (connection->link.stall_deadline() <= now_) {
      stalled.push_back(number);
      continue;
    }
    if (!connection->client && !connection->spawn && number != embedded_ && connection->opened + kAttachMax <= now_) {
      Cut(*connection, "it does not attach");
    }
  }
  // What it says counts to the last word. It may have been this process that was stopped, too.
  for (const std::uint64_t number : stalled) {
    ReadAll(number);
    if (Connection* connection = FindConnection(number); connection && connection->link.stall_deadline() <= now_)
      Cut(*connection, "it has not read its socket for ten seconds");
  }
  for (auto& [client, memory] : memory_) {
    if (memory.kill_at > now_) continue;
    memory.kill_at = INT64_MAX;
    if (const auto at = spawns_.find(memory.spawn); at != spawns_.end()) Kill(at->second);
  }
  TendShortage();
  if (stop_at_ <= now_) BeginStop(true);
  if (on_view_ && view_at_ <= now_) {
    view_at_ = now_ + kViewInterval;
    on_view_(View());
  }
}

// The first time: no new drivers, workers finish what they have begun. At once: what still runs is killed.
void PoolServer::BeginStop(bool at_once) {
  if (at_once) {
    ended_ = true;  // the supervisor kills what is left
    return;
  }
  if (stopping_) return;
  stopping_ = true;
  stop_at_ = now_ + options_.drain_ms * kMilli;
  Tell(lease::Drain{});
  for (const auto& [spawn, entry] : spawns_) {
    if (entry.client) DrainWorker(entry.client, stop_at_, true);
  }
  for (auto& [spawn, entry] : spawns_) {
    if (entry.kind != Spawn::Kind::kWorker && !entry.client) Kill(entry);
  }
  if (spawns_.empty()) ended_ = true;
}

}  // namespace sheaf
