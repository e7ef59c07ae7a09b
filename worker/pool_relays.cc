// Grants of the cluster's scheduler, and the relays that use them: near halves for jobs of this machine, far halves for
// those of others. docs/decisions/0008.
//
// A grant is held from the moment that its near half is started until that process is gone, or was told to leave. The
// scheduler hears of every change at once, as a level: what the jobs want elsewhere, and which grants are held.
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/address.h"
#include "base/loopback.h"
#include "base/random.h"
#include "worker/pool_send.h"
#include "worker/relay/relay_main.h"

namespace sheaf {

using wire::Kind;

Fd PoolServer::ListenOn(const std::string& host, const std::string& port, std::uint16_t* bound,
                        std::string* reason) const {
  addrinfo wish{}, *found = nullptr;
  wish.ai_socktype = SOCK_STREAM;
  wish.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE;
  if (getaddrinfo(host.c_str(), port.c_str(), &wish, &found) != 0) {
    *reason = "'" + host + ":" + port + "' is no address to listen on: write IP:PORT";
    return {};
  }
  Fd socket(::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int on = 1;
  if (socket) setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const bool loopback = IsLoopback(found->ai_addr);
  if (socket && loopback) SendWithoutPacing(socket.get());
  const bool allowed = loopback || !options_.pki_directory.empty();
  const bool listening =
      allowed && socket && bind(socket.get(), found->ai_addr, found->ai_addrlen) == 0 && listen(socket.get(), 64) == 0;
  const int error = errno;
  freeaddrinfo(found);
  if (!allowed) {
    *reason = "refused to listen for other pools on " + host + ":" + port +
              " without encryption and authentication: join the cluster with --token-file";
    return {};
  }
  if (!listening) {
    *reason = "cannot listen for other pools on " + host + ":" + port + ": " + std::strerror(error);
    return {};
  }
  sockaddr_storage own{};
  socklen_t size = sizeof own;
  getsockname(socket.get(), reinterpret_cast<sockaddr*>(&own), &size);
  *bound = ntohs(own.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&own)->sin6_port
                                           : reinterpret_cast<sockaddr_in*>(&own)->sin_port);
  return socket;
}

// Relays come in where the pool lends slots; large values go out of every pool, as it may be the driver's own. The
// transfers' port is the one after the relays' if that was chosen, so that a firewall needs two neighbours only.
bool PoolServer::ListenForRelays(std::string* reason) {
  if (options_.relay_listen.empty()) return true;
  std::string host, port, shown_host, shown_port;
  if (!SplitAddress(options_.relay_listen, &host, &port)) {
    *reason = "'" + options_.relay_listen + "' is no address to listen on: write IP:PORT";
    return false;
  }
  const std::string shown = options_.relay_address.empty() ? options_.relay_listen : options_.relay_address;
  const std::string prefix = shown.substr(0, shown.rfind(':') + 1);
  std::uint16_t bound = 0;
  if (slots_ > 0) {
    relay_listener_ = ListenOn(host, port, &bound, reason);
    if (!relay_listener_ || !Watch(relay_listener_.get(), EPOLLIN, kTagRelays)) return false;
    relay_address_ = options_.relay_address.empty() ? prefix + std::to_string(bound) : options_.relay_address;
  }
  const int chosen = std::atoi(port.c_str());
  transfer_listener_ = ListenOn(host, std::to_string(chosen > 0 && chosen < 65535 ? chosen + 1 : 0), &bound, reason);
  if (!transfer_listener_) return false;
  transfer_address_ = prefix + std::to_string(bound);
  StartTransfers();
  return true;
}

// It reads what other machines send, and the pool does not.
void PoolServer::StartTransfers() {
  Spawn entry;
  entry.kind = Spawn::Kind::kTransfers;
  JobDescription description;
  description.directory = "/";
  description.arguments = {"sheaf", "internal-relay", "transfers"};
  for (char** at = environ; *at; ++at) description.environment.emplace_back(*at);
  description.environment.push_back(std::string(relay::kRelayEnvironment) + "=" + TransferPath() + "\n" +
                                    transfer_address_ + "\n" + options_.pki_directory);
  if (!SpawnRelay(entry, description, {transfer_listener_.get(), STDERR_FILENO, STDERR_FILENO}))
    transfers_again_ = now_ + 1'000 * kMilli;
}

// Each connection gets a process of its own, which reads what comes: no byte of the network is parsed here.
void PoolServer::AcceptRelays() {
  for (;;) {
    const Fd socket(accept4(relay_listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!socket) return;
    const auto arriving = std::count_if(spawns_.begin(), spawns_.end(), [](const auto& at) {
      return at.second.kind == Spawn::Kind::kFar && at.second.grant == 0 && at.second.client == 0;
    });
    if (stopping_ || static_cast<std::size_t>(arriving) >= kRelaysArrivingMax) continue;
    Spawn entry;
    entry.kind = Spawn::Kind::kFar;
    JobDescription description;
    description.directory = "/";
    description.arguments = {"sheaf", "internal-relay", "far"};
    for (char** at = environ; *at; ++at) description.environment.emplace_back(*at);
    description.environment.push_back(std::string(relay::kRelayEnvironment) + "=" + options_.pki_directory + "\n" +
                                      TransferPath());
    SpawnRelay(entry, description, {socket.get(), STDERR_FILENO, STDERR_FILENO});
  }
}

bool PoolServer::SpawnRelay(Spawn entry, const JobDescription& given, const int (&fds)[3]) {
  int ends[2] = {-1, -1};
  if (!supervisor_ || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return false;
  const Fd theirs(ends[1]);
  const std::uint32_t number = next_relay_spawn_;
  if (++next_relay_spawn_ == 0) next_relay_spawn_ = kFirstRelaySpawn;
  entry.connection = AddConnection(Fd(ends[0]), 0);
  if (Connection* connection = FindConnection(entry.connection)) connection->spawn = number;
  JobDescription description = given;
  const std::string mark = std::string(relay::kSpawnEnvironment) + "=";
  std::erase_if(description.environment, [&](const std::string& text) {
    return text.starts_with(mark) || text.starts_with(std::string(wire::kWorkerEnvironment) + "=");
  });
  description.environment.push_back(mark + std::to_string(number));
  std::vector<std::byte> bytes(sizeof(wire::Spawn));
  AppendJobDescription(description, &bytes);
  wire::Spawn message{};
  message.header = {Kind::kSpawn, static_cast<std::uint32_t>(bytes.size()), 0};
  message.spawn = number;
  message.relay = 1;
  message.argument_count = static_cast<std::uint32_t>(description.arguments.size());
  message.environment_count = static_cast<std::uint32_t>(description.environment.size());
  std::memcpy(bytes.data(), &message, sizeof message);
  if (const auto relay = relays_.find(entry.grant); relay != relays_.end()) relay->second.spawn = number;
  if (entry.kind == Spawn::Kind::kTransfers) transfer_spawn_ = number;
  spawns_.emplace(number, entry);
  const int passed[4] = {fds[0], fds[1], fds[2], theirs.get()};
  ToSupervisor(bytes, passed);
  return true;
}

// ---- near -------------------------------------------------------------------------------------------------------

void PoolServer::TakeNews() {
  const auto news = neighbours_->Take();
  if (!news) return;
  if (news->fenced) {
    GiveCredits(nullptr);
    for (auto& [number, spawn] : spawns_)
      if (spawn.kind == Spawn::Kind::kFar) Kill(spawn);
    return;
  }
  if (news->drain && drain_until_ == INT64_MAX) drain_until_ = now_ + options_.drain_ms * kMilli;
  std::vector<std::uint64_t> valid;
  for (const Neighbours::Granted& granted : news->grants) {
    valid.push_back(granted.grant.id);
    if (!relays_.contains(granted.grant.id) && !RenewParked(granted)) StartNear(granted);
  }
  for (auto& [id, relay] : relays_) {
    if (relay.parked_since != INT64_MAX) continue;
    const bool heard = std::find(news->reported.begin(), news->reported.end(), id) != news->reported.end();
    if (std::find(valid.begin(), valid.end(), id) != valid.end()) {
      relay.unconfirmed = false;
    } else if (!relay.unconfirmed || heard) {  // else the scheduler does not know yet that it has begun
      LeaveRelay(relay);
    }
  }
  GiveCredits(&*news);
  // A borrower that the scheduler gave up: its slots are somebody else's now, even if it still reaches this machine.
  for (auto& [number, spawn] : spawns_) {
    const auto& voided = news->voided;
    if (spawn.kind == Spawn::Kind::kFar && std::find(voided.begin(), voided.end(), spawn.grant) != voided.end())
      Kill(spawn);
  }
  std::vector<lease::Refuse> refused;
  for (const scheduler::LeaseWant& want : news->infeasible) {
    const lease::CrewKey crew{JobOfNumber(want.job), ShapeOfNumber(want.job)};
    const auto view = leases_->crews().find(crew);
    if (view == leases_->crews().end()) continue;
    for (const auto& [id, client] : leases_->clients()) {
      const auto wish = client.job == crew.first ? client.wishes.find(crew.second) : client.wishes.end();
      // The answer is to a question of a moment ago: something narrower may be wanted by now.
      if (wish == client.wishes.end() || wish->second.cpus_milli < want.cpus_milli) continue;
      // One CPU is what every pool with workers has: none has joined yet.
      if (view->second.fits && wish->second.cpus_milli <= std::max<std::uint64_t>(slots_, 1) * 1000) continue;
      refused.push_back({id, lease::Reason::kInfeasible, crew.second});
    }
  }
  // To the client and to the lease core alike: it is wished for no more.
  for (const lease::Refuse& refusal : refused) {
    if (leases_->clients().contains(refusal.client)) RefuseWant(refusal);
    Tell(lease::Want{refusal.client, 0, 1000, 0, refusal.shape});
  }
}

void PoolServer::StartNear(const Neighbours::Granted& granted) {
  const lease::Shape shape = ShapeOfNumber(granted.grant.job);
  const auto job = jobs_.find(JobOfNumber(granted.grant.job));
  if (job == jobs_.end() || job->second.over || stopping_ || job->second.MustWait(shape, now_) ||
      leases_->Elsewhere({job->first, shape}) == 0)
    return;  // not held, so it goes back
  const PoolCore::Client* driver = core_->Find(job->first);
  if (!driver) return;
  JobDescription description = job->second.description;
  std::vector<std::string> arguments{"sheaf", "internal-relay", "near"};
  arguments.insert(arguments.end(), description.arguments.begin(), description.arguments.end());
  description.arguments = std::move(arguments);
  const std::string needs = std::string(wire::kNeedsEnvironment) + "=";
  std::erase_if(description.environment, [&](const std::string& text) { return text.starts_with(needs); });
  if (shape != 0) description.environment.push_back(needs + FormatNeeds(job->second.shapes[shape]));
  // What a machine that is away says of itself is read once, not each time it is tried.
  const auto trouble = job->second.relay_trouble.find(shape);
  const bool known_trouble = trouble != job->second.relay_trouble.end() && trouble->second.failures > 0 &&
                             trouble->second.lender == granted.grant.lender;
  char identity[4 * 17 + 1];
  std::snprintf(identity, sizeof identity, "%llx %llx %llx %llx", static_cast<unsigned long long>(driver->build[0]),
                static_cast<unsigned long long>(driver->build[1]), static_cast<unsigned long long>(driver->build[2]),
                static_cast<unsigned long long>(driver->build[3]));
  description.environment.push_back(std::string(relay::kRelayEnvironment) + "=" + granted.grant.address + "\n" +
                                    granted.ticket + "\n" + std::to_string(granted.grant.cpus_milli) + "\n" + identity +
                                    "\n" + options_.pki_directory + "\n" + granted.grant.lender + "\n" +
                                    TransferPath() + "\n" + std::to_string(granted.grant.slots) + "\n" +
                                    (known_trouble ? "again" : "first"));
  Spawn entry;
  entry.kind = Spawn::Kind::kNear;
  entry.job = job->first;
  entry.grant = granted.grant.id;
  relays_[granted.grant.id].grant = granted.grant;
  const Job& owner = job->second;
  if (!SpawnRelay(entry, description,
                  {owner.executable.get(), owner.standard_output.get(), owner.standard_error.get()}))
    relays_.erase(granted.grant.id);
}

// It sends what it has claimed, takes nothing new, and ends.
void PoolServer::LeaveRelay(Relay& relay) {
  if (std::exchange(relay.leaving, true)) return;
  if (relay.client) return Tell(lease::RelayLeaving{relay.client});
  if (const auto spawn = spawns_.find(relay.spawn); spawn != spawns_.end()) Kill(spawn->second);
}

// ---- far --------------------------------------------------------------------------------------------------------

void PoolServer::Admit(Connection& connection, std::uint64_t request, const AdmitMessage& message) {
  const auto spawn = spawns_.find(connection.spawn);
  if (spawn == spawns_.end() || spawn->second.kind != Spawn::Kind::kFar || spawn->second.grant != 0 || !neighbours_) {
    Refuse(connection, request, wire::Refusal::kInvalid, "no relay is awaited on this connection");
    return Cut(connection, "it asks to be admitted and is no relay");
  }
  Neighbours::Admitted admitted;
  const auto& [grant, borrower] = admitted;
  const std::size_t line = std::min(message.ticket.find('\n'), message.ticket.size());
  const std::string peer = message.ticket.substr(std::min(line + 1, message.ticket.size()));
  std::string why = neighbours_->Admit(
      message.ticket.substr(0, line), [this](const scheduler::GrantInfo& asked) { return HasRoomFor(asked); },
      &admitted);
  if (why.empty() && !options_.pki_directory.empty() && peer != borrower) why = "its ticket is another pool's";
  if (why.empty() && (stopping_ || drain_until_ != INT64_MAX)) why = "this pool is stopping";
  if (!why.empty()) {
    Refuse(connection, request, wire::Refusal::kInvalid, why);
    return;
  }
  spawn->second.grant = grant.id;
  spawn->second.slots = grant.slots;
  spawn->second.cpus_milli = grant.cpus_milli;
  spawn->second.parked_since = INT64_MAX;
  Send(connection, Kind::kDone, request, wire::Bare{});  // first of all: somebody waits
  if (const auto job = jobs_.find(connection.client); job != jobs_.end()) {
    job->second.twin_of = grant.id;
    Tell(lease::JobLimited{connection.client, grant.slots});
  }
  std::fprintf(stderr, "sheaf pool: lends %u slots to a job of pool %s (grant %llu)\n", grant.slots, borrower.c_str(),
               static_cast<unsigned long long>(grant.id));
}

// ---- what the scheduler hears -----------------------------------------------------------------------------------

scheduler::PoolOffer PoolServer::Offer() const {
  scheduler::PoolOffer offer;
  offer.cpus_milli = std::uint64_t{slots_} * 1000;
  offer.has = options_.has;
  offer.address = relay_address_;
  return offer;
}

scheduler::PoolReport PoolServer::Report() const {
  scheduler::PoolReport report;
  for (const auto& [id, job] : jobs_) {
    if (job.twin_of == 0) {
      report.own_milli += leases_->OccupiedMilli(id);
      for (const auto& [name, amount] : options_.has.resources)
        if (const std::uint64_t held = leases_->Held(name, id)) report.own[name] += held;
    }
    if (job.over || job.stays_here) continue;
    for (lease::Shape shape = 0; shape < job.shapes.size(); ++shape) {
      const std::uint64_t number = NumberOf(id, shape);
      std::uint64_t wanted = job.MustWait(shape, now_) ? 0 : leases_->Elsewhere({id, shape});
      wanted = std::max<std::uint64_t>(wanted, AskedByParked(number));
      if (wanted == 0) continue;
      scheduler::LeaseWant want;
      want.job = number;
      want.slots = static_cast<std::uint32_t>(std::min<std::uint64_t>(wanted, limits::kPairsMax));
      want.cpus_milli = leases_->Width({id, shape});
      want.needs = job.shapes[shape];
      // A parked relay that leads nowhere near the arguments is better than none.
      for (const auto& [grant, relay] : relays_)
        if (relay.grant.job == number && relay.parked_since != INT64_MAX && !relay.leaving)
          want.bytes.emplace_back(relay.grant.lender, now_ - relay.parked_since < kNamesLast ? relay.bytes_there : 1);
      report.wants.push_back(std::move(want));
    }
  }
  for (const auto& [id, relay] : relays_) {
    if (relay.leaving) continue;
    if (relay.parked_since != INT64_MAX) {
      report.parked.push_back(id);
      continue;
    }
    report.held.push_back(relay.grant);
    if (relay.unconfirmed) report.begun.push_back(id);
  }
  return report;
}

void PoolServer::TendRelays() {
  if (transfer_listener_ && transfer_spawn_ == 0 && !stopping_ && now_ >= transfers_again_) StartTransfers();
  if (drain_until_ != INT64_MAX && !stopping_) {
    const bool busy = !jobs_.empty() || std::any_of(spawns_.begin(), spawns_.end(), [](const auto& spawn) {
      return spawn.second.kind == Spawn::Kind::kFar;
    });
    if (!busy || now_ >= drain_until_) BeginStop(false);
  }
  for (auto& [id, job] : jobs_)
    for (lease::Shape shape = 0; shape < job.shapes.size(); ++shape) ParkIdleRelays(NumberOf(id, shape), &job);
  for (auto& [id, relay] : relays_) {
    const auto job = jobs_.find(JobOfNumber(relay.grant.job));
    // Or too narrow for what waits: the next grant is as wide.
    if (job == jobs_.end() || job->second.over ||
        relay.grant.cpus_milli < leases_->Width({job->first, ShapeOfNumber(relay.grant.job)}) ||
        (relay.parked_since != INT64_MAX && now_ - relay.parked_since > kParkedMax))
      LeaveRelay(relay);
  }
  for (auto& [number, spawn] : spawns_) {
    if (spawn.kind != Spawn::Kind::kFar || spawn.parked_since == INT64_MAX) continue;
    if (drain_until_ != INT64_MAX || now_ - spawn.parked_since > kReleasedMax) Kill(spawn);
  }
  scheduler::PoolReport report = Report();
  std::vector<std::uint64_t> held;
  for (const scheduler::GrantInfo& grant : report.held) held.push_back(grant.id);
  if (report.wants == reported_wants_ && held == reported_held_ && report.own_milli == reported_own_ &&
      report.own == reported_own_resources_)
    return;
  // What its own jobs use may wait for the next heartbeat; it changes with every task that waits.
  const bool urgent = report.wants != reported_wants_ || held != reported_held_;
  reported_wants_ = std::move(report.wants);
  reported_held_ = std::move(held);
  reported_own_ = report.own_milli;
  reported_own_resources_ = std::move(report.own);
  if (urgent && on_view_) on_view_(View());
}

}  // namespace sheaf
