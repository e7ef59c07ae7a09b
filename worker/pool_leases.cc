// What the lease core decides, carried out; and what the supervisor reports of the processes it started.
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/check.h"
#include "base/failpoint.h"
#include "worker/pool_send.h"

namespace sheaf {
namespace {

using wire::Kind;

template <class... Fs>
struct Overloaded : Fs... {
  using Fs::operator()...;
};

}  // namespace

std::unique_ptr<lease::LeaseCore> PoolServer::MakeLeases(std::uint32_t pairs) const {
  lease::LeaseCore::Config config;
  config.slots = slots_;
  config.clustered = neighbours_ != nullptr;
  config.has = options_.has;
  config.extra_workers_max = limits::kExtraWorkersMax;
  config.pairs_max = pairs;
  return std::make_unique<lease::LeaseCore>(config);
}

void PoolServer::Tell(const lease::Event& event) {
  for (const lease::Action& action : leases_->OnEvent(event, now_)) Carry(action);
}

void PoolServer::Carry(const lease::Action& action) {
  std::visit(Overloaded{
                 [&](const lease::SpawnWorker& a) { SpawnWorker(a.spawn, a.job); },
                 [&](const lease::CancelSpawn& a) {
                   if (const auto at = spawns_.find(a.spawn); at != spawns_.end()) Kill(at->second);
                 },
                 [&](const lease::OpenPair& a) { OpenPair(a); },
                 [&](const lease::ClosePair& a) {
                   const auto pair = leases_->pairs().find({a.submitter, a.worker});
                   Connection* to = ConnectionOf(a.submitter);
                   if (!to || pair == leases_->pairs().end()) return;
                   Send(*to, Kind::kCloseOut, 0,
                        wire::PairName{{}, a.worker, pair->second.out_region, pair->second.in_region, 0});
                 },
                 [&](const lease::FreePair& a) {
                   if (Connection* to = ConnectionOf(a.submitter)) {
                     Send(*to, Kind::kClosed, 0, wire::PairName{{}, a.worker, a.out_region, a.in_region, 0});
                   }
                   if (Connection* to = ConnectionOf(a.worker)) {
                     Send(*to, Kind::kClosed, 0, wire::PairName{{}, a.submitter, a.in_region, a.out_region, 0});
                   }
                 },
                 // What it has begun may take as long as it takes, unless the pool itself ends.
                 [&](const lease::StopWorker& a) { DrainWorker(a.worker, stop_at_, false); },
                 [&](const lease::Refuse& a) { RefuseWant(a); },
             },
             action);
}

void PoolServer::OpenPair(const lease::OpenPair& pair) {
  Connection* submitter = ConnectionOf(pair.submitter);
  Connection* worker = ConnectionOf(pair.worker);
  const auto control = [&](ClientId client) { return memory_.at(client).segments.at(0).readable.get(); };
  wire::OpenPair message{};
  message.nonce = next_nonce_;
  if (++next_nonce_ == 0) next_nonce_ = 1;
  message.peer_out_regions = core_->config().pairs;
  message.peer_control_bytes = store::ControlBytes(core_->config().pairs, core_->config().pairs);
  // The worker first: by the time that the submitter pushes, the worker looks.
  if (worker && memory_.contains(pair.submitter)) {
    message.peer = pair.submitter;
    message.own_region = pair.in_region;
    message.peer_region = pair.out_region;
    const int fd = control(pair.submitter);
    Send(*worker, Kind::kOpenIn, 0, message, {&fd, 1});
  }
  SHEAF_FAILPOINT("pool.pair.half_open");
  if (submitter && memory_.contains(pair.worker)) {
    message.peer = pair.worker;
    message.own_region = pair.out_region;
    message.peer_region = pair.in_region;
    const lease::ClientView& worker_view = leases_->clients().at(pair.worker);
    message.places = worker_view.places;
    message.cpus_milli = worker_view.places > 0 ? worker_view.cpus_milli : slots_ * 1000;
    message.shape = submitter->OwnNumberOf(worker_view.shape);
    const int fd = control(pair.worker);
    Send(*submitter, Kind::kOpenOut, 0, message, {&fd, 1});
  }
}

void PoolServer::RefuseWant(const lease::Refuse& refusal) {
  Connection* to = ConnectionOf(refusal.client);
  if (!to) return;
  const std::uint32_t shape = to->OwnNumberOf(refusal.shape);
  switch (refusal.reason) {
    case lease::Reason::kInfeasible:
      return Refuse(*to, 0, wire::Refusal::kInfeasible, WhyInfeasible(refusal), shape);
    case lease::Reason::kSpawnFailed:
      return Refuse(*to, 0, wire::Refusal::kSpawnFailed,
                    "its processes ended before they were ready, several in a row; their error output says why" +
                        (last_spawn_failure_.empty() ? "" : " (the last one: " + last_spawn_failure_ + ")"));
    case lease::Reason::kStopping:
      return Refuse(*to, 0, wire::Refusal::kStopping, "the pool is stopping");
    case lease::Reason::kLimit:
      return Refuse(
          *to, 0, wire::Refusal::kLimit,
          "every worker waits inside Get and the pool may start no more than " +
              std::to_string(limits::kExtraWorkersMax) +
              " beyond its slots, or what else they need is held by those that wait: let fewer tasks wait for others "
              "at "
              "once, or give tasks the results that they need as refs in their arguments, which are awaited before "
              "they start",
          shape);
  }
}

std::string PoolServer::WhyInfeasible(const lease::Refuse& refusal) const {
  const std::string who = neighbours_ ? "no pool of the cluster has" : "this pool does not have";
  const lease::ClientView& client = leases_->clients().at(refusal.client);
  const auto crew = leases_->crews().find({client.job, refusal.shape});
  if (refusal.shape != 0 && crew != leases_->crews().end())
    return "a task asks for " + FormatNeeds(crew->second.needs) + ", which " + who +
           (options_.has.empty() ? "" : " (this one has " + FormatNeeds(options_.has) + ")") +
           ": lower TaskOptions.resources, .labels or .cpus, or start a pool with --resources and --labels";
  return "a task asks for more CPUs than " +
         (neighbours_ ? std::string("any pool of the cluster has") : "this pool's " + std::to_string(slots_)) +
         ": lower TaskOptions.cpus, or start a pool with more --workers";
}

// Shapes are numbered by each client for itself; the lease core numbers those of the job, equal needs alike.
bool PoolServer::NameShape(Connection& connection, const ShapeMessage& message) {
  const PoolCore::Client* client = core_->Find(connection.client);
  if (message.shape != connection.shapes.size() || message.shape >= limits::kShapesMax) return false;
  const auto job = jobs_.find(client->job);
  if (job == jobs_.end()) return true;
  std::vector<Needs>& shapes = job->second.shapes;
  const auto found = std::find(shapes.begin(), shapes.end(), message.needs);
  const auto shape = static_cast<lease::Shape>(found - shapes.begin());
  if (found == shapes.end() && shapes.size() < limits::kJobShapesMax) {
    shapes.push_back(message.needs);
    Tell(lease::ShapeNamed{client->job, shape, message.needs});
  }
  connection.shapes.push_back(shape);
  return true;
}

bool PoolServer::Want(Connection& connection, const WantMessage& message) {
  if (message.shape >= connection.shapes.size()) return false;
  const lease::Shape shape = connection.shapes[message.shape];
  if (shape >= limits::kJobShapesMax) {
    Refuse(connection, 0, wire::Refusal::kLimit,
           "the tasks of one job may have " + std::to_string(limits::kJobShapesMax - 1) +
               " different sets of resources and labels",
           message.shape);
    return true;
  }
  const PoolCore::Client* client = core_->Find(connection.client);
  if (const auto job = jobs_.find(client->job); message.workers + message.elsewhere > 0 && job != jobs_.end() &&
                                                job->second.stays_here && MustGoElsewhere({client->job, shape})) {
    Refuse(connection, 0, wire::Refusal::kLimit, kCannotTravel, message.shape);
    return true;
  }
  Tell(lease::Want{connection.client, std::min<std::uint32_t>(message.workers, limits::kPairsMax),
                   std::max<std::uint32_t>(message.cpus_milli, 1),
                   neighbours_ ? std::min<std::uint32_t>(message.elsewhere, limits::kPairsMax) : 0, shape});
  return true;
}

bool PoolServer::Returned(Connection& connection, const ReturnWorkerMessage& message) {
  // A return may cross the worker's death; then there is no such pair any more.
  if (leases_->pairs().contains({connection.client, message.worker})) {
    Tell(lease::WorkerReturned{connection.client, message.worker});
  }
  return true;
}

bool PoolServer::Blocked(Connection& connection, bool blocked) {
  if (core_->Find(connection.client)->role != wire::Role::kWorker) return false;
  Tell(lease::Blocked{connection.client, blocked});
  return true;
}

// ---- processes --------------------------------------------------------------------------------------------------

void PoolServer::SpawnWorker(std::uint32_t spawn, ClientId job) {
  const auto at = jobs_.find(job);
  int ends[2] = {-1, -1};
  // The job may have ended between the decision and this: the lease core has taken it back already.
  const bool wanted = at != jobs_.end() && !at->second.over;
  if (!wanted || !supervisor_ || SHEAF_FAILPOINT("pool.spawn") ||
      socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    failed_spawns_.push_back({spawn, wanted ? errno : ESRCH});
    return;
  }
  const Fd theirs(ends[1]);
  Spawn entry;
  entry.job = job;
  entry.connection = AddConnection(Fd(ends[0]), 0);
  if (Connection* connection = FindConnection(entry.connection)) connection->spawn = spawn;
  spawns_.emplace(spawn, entry);
  const Job& owner = at->second;
  JobDescription description = owner.description;
  std::erase_if(description.environment, [](const std::string& text) {
    return text.starts_with(std::string(wire::kWorkerEnvironment) + "=") ||
           text.starts_with(wire::kWorkerNeedsEnvironment) || text.starts_with(wire::kJobEnvironment);
  });
  description.environment.push_back(std::string(wire::kWorkerEnvironment) + "=" + std::to_string(spawn));
  if (const auto view = leases_->spawns().find(spawn); view != leases_->spawns().end() && view->second.shape != 0)
    description.environment.push_back(std::string(wire::kWorkerNeedsEnvironment) + "=" +
                                      FormatNeeds(owner.shapes.at(view->second.shape)));
  std::vector<std::byte> bytes(sizeof(wire::Spawn));
  AppendJobDescription(description, &bytes);
  wire::Spawn message{};
  message.header = {Kind::kSpawn, static_cast<std::uint32_t>(bytes.size()), 0};
  message.spawn = spawn;
  message.argument_count = static_cast<std::uint32_t>(description.arguments.size());
  message.environment_count = static_cast<std::uint32_t>(description.environment.size());
  std::memcpy(bytes.data(), &message, sizeof message);
  const int fds[4] = {owner.executable.get(), owner.standard_output.get(), owner.standard_error.get(), theirs.get()};
  ToSupervisor(bytes, fds);
}

void PoolServer::ToSupervisor(std::span<const std::byte> bytes, std::span<const int> fds) {
  if (!supervisor_) return;
  if (!supervisor_->Send(bytes, fds, now_)) {
    std::fprintf(stderr, "sheaf pool: the supervisor is gone\n");
    exit_code_ = 1;
    ended_ = true;
  } else if (supervisor_->pending()) {
    WatchSupervisor(true);
  }
}

void PoolServer::ReadSupervisor() {
  if (!supervisor_->Flush(now_)) ended_ = true;
  if (!supervisor_->pending()) WatchSupervisor(false);
  while (!ended_) {
    Packet packet;
    switch (ReceivePacket(supervisor_->fd(), limits::kWireBytesMax, false, &packet)) {
      case PacketResult::kOk:
        break;
      case PacketResult::kAgain:
        return;
      default:
        exit_code_ = 1;  // it ends with all that it started; so do we
        ended_ = true;
        return;
    }
    wire::Header header{};
    if (packet.bytes.size() < sizeof header) continue;
    std::memcpy(&header, packet.bytes.data(), sizeof header);
    if (header.kind == Kind::kStop) {
      BeginStop(false);
    } else if (header.kind == Kind::kSpawned && packet.bytes.size() == sizeof(wire::Spawned)) {
      wire::Spawned spawned;
      std::memcpy(&spawned, packet.bytes.data(), sizeof spawned);
      WorkerSpawned(spawned);
    } else if (header.kind == Kind::kExited && packet.bytes.size() == sizeof(wire::Exited)) {
      wire::Exited exited;
      std::memcpy(&exited, packet.bytes.data(), sizeof exited);
      WorkerExited(exited);
    }
  }
}

void PoolServer::WorkerSpawned(const wire::Spawned& spawned) {
  const auto at = spawns_.find(spawned.spawn);
  if (at == spawns_.end()) return;
  Spawn& spawn = at->second;
  Connection* connection = FindConnection(spawn.connection);
  if (spawned.pid <= 0) {
    last_spawn_failure_ = std::strerror(spawned.error);
    if (connection) connection->spawn = 0, Closed(*connection);
    const Spawn failed = at->second;
    spawns_.erase(at);
    if (failed.kind != Spawn::Kind::kWorker) return RelayEnded(failed, false, 0);
    Tell(lease::SpawnFailed{spawned.spawn, spawned.error});
    return;
  }
  spawn.pid = spawned.pid;
  spawn_of_pid_[spawned.pid] = spawned.spawn;
  if (spawn.kill) {
    spawn.kill = false;
    return Kill(spawn);
  }
  if (!connection) return;
  connection->pid = spawned.pid;
  if (auto early = std::exchange(connection->early, std::nullopt))
    Handle(*connection, std::move(early->first), std::move(early->second));
}

void PoolServer::WorkerExited(const wire::Exited& exited) {
  const auto number = spawn_of_pid_.find(exited.pid);
  if (number == spawn_of_pid_.end()) return;
  const auto at = spawns_.find(number->second);
  SHEAF_CHECK(at != spawns_.end());
  const std::uint32_t spawn_number = at->first;
  const Spawn spawn = at->second;
  spawn_of_pid_.erase(number);
  spawns_.erase(at);
  const PoolCore::Client* client = spawn.client ? core_->Find(spawn.client) : nullptr;
  const bool was_ready = client && client->state == wire::ClientState::kAlive;
  const bool worker = spawn.kind == Spawn::Kind::kWorker;
  if (worker && was_ready && !memory_.at(spawn.client).draining) ++workers_died_;
  if (client) {
    ClientDied(spawn.client, exited.status);
  } else if (Connection* connection = FindConnection(spawn.connection)) {
    connection->spawn = 0;
    Closed(*connection);
  }
  if (!worker) RelayEnded(spawn, was_ready, exited.status);
  if (worker && !was_ready) {  // the lease core ignores those that it gave up itself
    if (spawn.refused.empty()) last_spawn_failure_ = DescribeExit(exited.status);
    Tell(lease::SpawnFailed{spawn_number, 0});
  }
  if (stopping_ && spawns_.empty()) ended_ = true;
}

void PoolServer::Kill(Spawn& spawn) {
  if (std::exchange(spawn.kill, true) || spawn.pid == 0) return;
  wire::Exited message{};
  message.header = {Kind::kKill, sizeof message, 0};
  message.pid = spawn.pid;
  ToSupervisor(std::as_bytes(std::span(&message, 1)), {});
}

// Failures that were noticed inside an action are told once the lease core is done with the event at hand.
void PoolServer::TellFailedSpawns() {
  while (!failed_spawns_.empty()) {
    for (const lease::SpawnFailed& failed : std::exchange(failed_spawns_, {})) Tell(failed);
  }
}

}  // namespace sheaf
