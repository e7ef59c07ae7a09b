// What clients say: attach, calls, goodbye; and what the client core decides about it.
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "base/failpoint.h"
#include "worker/pool_send.h"

namespace sheaf {
namespace {

using wire::Kind;
using wire::Refusal;

template <class... Fs>
struct Overloaded : Fs... {
  using Fs::operator()...;
};

}  // namespace

void PoolServer::Handle(Connection& connection, ClientMessage message, std::vector<Fd> fds) {
  const std::uint64_t request = message.request;
  const ClientId client = connection.client;
  if (auto* attach = std::get_if<AttachMessage>(&message.body)) {
    // The supervisor's word on a worker's pid travels on another socket, and may be slower.
    const auto spawn = spawns_.find(connection.spawn);
    if (spawn != spawns_.end() && spawn->second.pid == 0 && !connection.early) {
      connection.early.emplace(std::move(message), std::move(fds));
      return;
    }
    Attach(connection, request, *attach, std::move(fds));
    return;
  }
  if (std::holds_alternative<StatusMessage>(message.body)) {
    Send(connection, Kind::kStatusReply, request, wire::Bare{}, {}, ToJson(View()));
    return;
  }
  if (std::holds_alternative<StopMessage>(message.body)) {
    stop_requests_.emplace_back(connection.number, request);
    BeginStop(false);
    return;
  }
  if (const auto* admit = std::get_if<AdmitMessage>(&message.body)) {
    Admit(connection, request, *admit);
    return;
  }
  const bool known = client != 0 && (connection.attached || std::holds_alternative<AttachedMessage>(message.body));
  if (!known) {
    Refuse(connection, request, Refusal::kInvalid, "attach first");
    Cut(connection, "it speaks before it has attached");
    return;
  }
  const PoolCore::Client* entry = core_->Find(client);
  if (!entry || entry->left) return;
  PoolCore::Actions actions;
  bool sense = true;
  std::visit(Overloaded{
                 [&](const AttachedMessage&) { Attached(connection); },
                 [&](const MakeSegmentMessage& body) { MakeSegment(connection, request, body); },
                 [&](const SegmentMappedMessage& body) { SegmentMapped(connection, body.segment); },
                 [&](const OpenSegmentMessage& body) { OpenSegment(connection, request, body); },
                 [&](const DropSegmentMessage& body) { sense = core_->DropSegment(client, body.segment, &actions); },
                 [&](const GoneAckMessage& body) { sense = core_->Acknowledge(client, body.dead, &actions); },
                 [&](const HeirsMessage& body) { sense = core_->NameHeirs(client, body.dead, body.heirs, &actions); },
                 [&](const HeirsToldMessage& body) { sense = core_->HeirsTold(client, body.dead, &actions); },
                 [&](const AwayMessage& body) { sense = core_->AddAway(client, body.entries); },
                 [&](const NotFetchedMessage& body) {
                   sense = core_->NotFetched(client, body.segment, body.why, body.text, &actions);
                 },
                 [&](const ArrivedMessage& body) {
                   sense = core_->Arrived(client, body.submitter, body.slot, body.generation, &actions);
                 },
                 [&](const FetchMessage& body) { Fetch(connection, body); },
                 [&](const RemakeMessage& body) { sense = core_->Remake(client, body.dead, body.segments); },
                 [&](const RemadeMessage& body) { Remade(connection, body); },
                 [&](const StartCallMessage& body) { sense = StartCall(connection, body); },
                 [&](const DetachMessage&) {
                   connection.detach_request = request;
                   if (entry->role == wire::Role::kDriver) DriverGone(client, false);
                 },
                 [&](const WantMessage& body) { sense = Want(connection, body); },
                 [&](const ShapeMessage& body) { sense = NameShape(connection, body); },
                 [&](const ReturnWorkerMessage& body) { sense = Returned(connection, body); },
                 [&](const BlockedMessage& body) { sense = Blocked(connection, body.blocked); },
                 [&](const ParkedMessage& body) { sense = Parked(connection, body.bytes); },
                 [&](const AsksMessage&) { sense = Asks(connection); },
                 [&](const BegunMessage& body) { sense = Begun(connection, body.grant); },
                 [&](const ReleasedMessage&) { sense = Released(connection); },
                 [](const auto&) {},
             },
             message.body);
  Apply(actions);
  if (!sense) {
    Refuse(connection, request, Refusal::kInvalid, "that names nothing of yours, or comes at the wrong time");
    Cut(connection, "a message that makes no sense now");
  }
}

// ---- attach -----------------------------------------------------------------------------------------------------

void PoolServer::Attach(Connection& connection, std::uint64_t request, AttachMessage& message, std::vector<Fd> fds) {
  const wire::Attach& attach = message.attach;
  const bool driver = attach.role == wire::Role::kDriver;
  const auto refuse = [&](Refusal why, std::string_view text) {
    Refuse(connection, request, why, text);
    // The job's driver is told this, not that a process of it ended with some code.
    if (const auto at = spawns_.find(connection.spawn); at != spawns_.end()) {
      last_spawn_failure_ = at->second.refused = text;
    }
    // A worker that was still starting when its job ended has done nothing wrong.
    why == Refusal::kGone ? Closed(connection) : Cut(connection, text);
  };
  if (connection.client) return refuse(Refusal::kInvalid, "already attached");
  if (attach.version != wire::kVersion) {
    return refuse(Refusal::kOtherVersion, "this pool speaks version " + std::to_string(wire::kVersion) +
                                              " of the protocol, the program " + std::to_string(attach.version) +
                                              ": use sheaf and libsheaf of the same release");
  }
  ClientId client = 0;
  PoolCore::Actions actions;
  PoolCore::Verdict verdict;
  auto spawn = spawns_.end();
  if (driver) {
    spawn = spawns_.find(connection.spawn);
    const bool far = spawn != spawns_.end() && spawn->second.kind == Spawn::Kind::kFar && spawn->second.grant != 0;
    if (connection.spawn && !far) return refuse(Refusal::kInvalid, "a worker's socket cannot attach as a driver");
    if (stopping_) return refuse(Refusal::kStopping, "this pool is stopping: connect to another, or start it again");
    verdict = core_->AddDriver(attach.build, &client, &actions);
  } else {
    spawn = spawns_.find(connection.spawn);
    if (spawn == spawns_.end() || attach.spawn != connection.spawn || spawn->second.client ||
        attach.pid != static_cast<std::uint32_t>(spawn->second.pid)) {
      return refuse(Refusal::kInvalid, "this pool did not start that worker");
    }
    const bool near = spawn->second.kind == Spawn::Kind::kNear;
    if (near != (attach.role == wire::Role::kRelay) || spawn->second.kind == Spawn::Kind::kFar)
      return refuse(Refusal::kInvalid, "this process was started for something else");
    verdict = near ? core_->AddRelay(spawn->second.job, &client, &actions)
                   : core_->AddWorker(spawn->second.job, attach.build, &client, &actions);
  }
  if (!verdict) return refuse(verdict.why, verdict.text);
  FirstSet set;
  int error = 0;
  if (!TakeFirstSet(&set, &error)) {
    Apply(actions);
    PoolCore::Actions undo;
    core_->Died(client, 0, &undo);
    Apply(undo);
    return refuse(WhyNoMemory(error), TextNoMemory(error));
  }
  connection.client = client;
  Memory& memory = memory_[client];
  memory.connection = connection.number;
  memory.pid = connection.pid;
  memory.spawn = connection.spawn;
  const int segments[4] = {page_.reader_fd(), set.control.get(), set.slab.get(), set.arena.get()};
  wire::Welcome welcome{};
  welcome.client = client;
  welcome.slots = slots_;
  welcome.cores = cores_;
  welcome.out_regions = welcome.in_regions = core_->config().pairs;
  welcome.slab_segment = 1;
  welcome.arena_segment = 2;
  welcome.control_bytes = store::ControlBytes(welcome.out_regions, welcome.in_regions);
  welcome.slab_bytes = store::SlabBytes(0);
  welcome.arena_bytes = core_->config().first_arena_bytes;
  welcome.page_bytes = PageWriter::kBytes;
  welcome.budget_bytes = core_->budget_bytes();
  welcome.clustered = neighbours_ != nullptr;
  if (driver) {
    Job& job = jobs_[client];
    job.description = std::move(message.job);
    job.executable = std::move(fds[0]);
    job.standard_output = std::move(fds[1]);
    job.standard_error = std::move(fds[2]);
    job.program = job.description.arguments[0].substr(0, 256);
    if (spawn != spawns_.end()) job.twin_of = spawn->second.grant;
    memory.process = Fd(static_cast<int>(syscall(SYS_pidfd_open, connection.pid, 0)));
    if (memory.process) Watch(memory.process.get(), EPOLLIN, kTagProcess | client);
  } else {
    spawn->second.client = client;
  }
  Apply(actions);
  page_.WritePid(client, static_cast<std::uint32_t>(connection.pid));
  memory.segments[0].writable = std::move(set.control);
  memory.segments[1].writable = std::move(set.slab);
  memory.segments[2].writable = std::move(set.arena);
  // Last: a peer that is gone already takes its entry along, and `memory` with it.
  Send(connection, Kind::kWelcome, request, welcome, segments);
}

void PoolServer::Attached(Connection& connection) {
  const ClientId client = connection.client;
  if (connection.attached) return Cut(connection, "it has attached twice");
  Memory& memory = memory_.at(client);
  for (auto& [number, fds] : memory.segments) {
    if (!Publish(fds)) return Cut(connection, "its first segments could not be sealed");
  }
  PoolCore::Actions actions;
  core_->Attached(client, &actions);
  connection.attached = true;
  void* header =
      mmap(nullptr, sizeof(store::ControlHeader), PROT_READ, MAP_SHARED, memory.segments.at(0).readable.get(), 0);
  if (header != MAP_FAILED) memory.header = static_cast<const store::ControlHeader*>(header);
  Apply(actions);
  const wire::Role role = core_->Find(client)->role;
  if (role == wire::Role::kDriver) {
    lease::JobStarted started{client};
    if (const auto spawn = spawns_.find(connection.spawn); spawn != spawns_.end())
      started.slots_max = spawn->second.slots;
    Tell(started);
    return;
  }
  const ClientId job = core_->Find(client)->job;
  for (const auto& packet : jobs_.at(job).start_calls) SendPacketTo(connection, packet, {});
  if (role == wire::Role::kRelay) {
    const auto spawn = spawns_.find(memory.spawn);
    if (spawn == spawns_.end()) return;  // these were its last words: it has ended already
    Relay& relay = relays_.at(spawn->second.grant);
    relay.client = client;
    jobs_.at(job).relay_trouble.erase(ShapeOfNumber(relay.grant.job));
    Tell(lease::RelayReady{client, job, relay.grant.slots, relay.grant.cpus_milli, ShapeOfNumber(relay.grant.job)});
    if (relay.leaving) Tell(lease::RelayLeaving{client});
    return;
  }
  Tell(lease::WorkerReady{memory.spawn, client});
}

bool PoolServer::StartCall(Connection& connection, const StartCallMessage& message) {
  const auto job = jobs_.find(connection.client);
  if (job == jobs_.end() || job->second.start_calls.size() >= kStartCallsMax) return false;
  wire::StartCall call = message.call;
  call.header = {Kind::kRunStart, static_cast<std::uint32_t>(sizeof call + message.arguments.size()), 0};
  std::vector<std::byte> packet(sizeof call);
  std::memcpy(packet.data(), &call, sizeof call);
  packet.insert(packet.end(), message.arguments.begin(), message.arguments.end());
  for (const auto& [client, memory] : memory_) {
    const PoolCore::Client* entry = core_->Find(client);
    if (!entry || entry->job != connection.client || entry->role == wire::Role::kDriver) continue;
    Connection* worker = ConnectionOf(client);
    if (worker && worker->attached) SendPacketTo(*worker, packet, {});
  }
  job->second.start_calls.push_back(std::move(packet));
  return true;
}

// ---- the end of clients -----------------------------------------------------------------------------------------

void PoolServer::Apply(const PoolCore::Actions& actions) {
  for (const pool::Action& action : actions) {
    std::visit(Overloaded{
                   [&](const pool::WriteState& a) {
                     SHEAF_FAILPOINT("pool.page.before_write");
                     page_.Write(a.client, a.state);
                     if (a.state == wire::ClientState::kFree) DropMemory(a.client);
                   },
                   [&](const pool::SendGone& a) {
                     SHEAF_FAILPOINT("pool.gone.before_send");
                     if (Connection* to = ConnectionOf(a.to))
                       Send(*to, Kind::kGone, 0, wire::Gone{{}, a.peer, a.status});
                   },
                   [&](const pool::SendForgotten& a) {
                     if (Connection* to = ConnectionOf(a.to))
                       Send(*to, Kind::kForgotten, 0, wire::PeerName{{}, a.peer, 0});
                     Tell(lease::PeerForgotten{a.to, a.peer});
                   },
                   [&](const pool::SendHeirs& a) {
                     const std::string_view tail{reinterpret_cast<const char*>(a.heirs.data()),
                                                 a.heirs.size() * sizeof(wire::HeirEntry)};
                     if (Connection* to = ConnectionOf(a.to))
                       Send(*to, Kind::kHeirsAre, 0, wire::PeerName{{}, a.dead, 0}, {}, tail);
                   },
                   [&](const pool::SendAlone& a) {
                     if (Connection* to = ConnectionOf(a.to)) {
                       wire::PeerName name{};
                       name.peer = a.dead;
                       Send(*to, Kind::kAlone, 0, name);
                     }
                   },
                   [&](const pool::SendSettled& a) {
                     if (Connection* to = ConnectionOf(a.to))
                       Send(*to, Kind::kSettled, 0, wire::PeerName{{}, a.dead, 0});
                   },
                   [&](const pool::SendSegmentGone& a) {
                     const wire::SegmentName name{{}, a.owner, a.segment, wire::SegmentKind::kLarge, 0, 0};
                     if (Connection* to = ConnectionOf(a.to)) Send(*to, Kind::kSegmentGone, 0, name);
                   },
                   [&](const pool::DropSegment& a) {
                     if (const auto at = memory_.find(a.owner); at != memory_.end())
                       at->second.segments.erase(a.segment);
                   },
                   [&](const pool::SendWanted& a) {
                     const wire::SegmentName name{{}, a.to, a.segment, wire::SegmentKind::kLarge, 0, 0};
                     if (Connection* to = ConnectionOf(a.to)) Send(*to, Kind::kWanted, 0, name);
                   },
                   [&](const pool::AnswerOpen& a) { AnswerOpen(a); },
                   [&](const pool::AnswerAway& a) { AnswerAway(a); },
                   [&](const pool::RefuseOpen& a) {
                     if (Connection* to = ConnectionOf(a.to)) Refuse(*to, a.request, a.why, a.text);
                   },
                   [&](const pool::SendHasArrived& a) {
                     const wire::Arrived arrived{{}, a.to, a.slot, a.generation, 0};
                     if (Connection* to = ConnectionOf(a.to)) Send(*to, Kind::kHasArrived, 0, arrived);
                   },
                   [&](const pool::EndWorker& a) {
                     // A message of this round may have found another death and ended the round's clients already.
                     const PoolCore::Client* worker = core_->Find(a.worker);
                     if (!worker) return;
                     const auto job = jobs_.find(worker->job);
                     const bool orphan = job == jobs_.end() || job->second.driver_died;
                     DrainWorker(a.worker, now_ + (orphan ? kDrainOrphan : kDrainJob), true);
                   },
                   [&](const pool::JobOver& a) { JobOver(a.driver); },
               },
               action);
  }
}

void PoolServer::DropMemory(ClientId client) {
  const auto at = memory_.find(client);
  if (at == memory_.end()) return;
  if (at->second.header) {
    munmap(const_cast<store::ControlHeader*>(at->second.header), sizeof(store::ControlHeader));
  }
  memory_.erase(at);
}

void PoolServer::DriverGone(ClientId driver, bool died) {
  const auto job = jobs_.find(driver);
  const auto memory = memory_.find(driver);
  if (job == jobs_.end() || memory == memory_.end()) return;
  if (died) {
    memory->second.process.Reset();  // also leaves the epoll set
    job->second.driver_died = true;
  }
  if (!job->second.over) {
    job->second.over = true;
    for (auto& [number, spawn] : spawns_) {
      if (spawn.job == driver && !spawn.client) Kill(spawn);
    }
    Tell(lease::JobEnded{driver});
  }
  PoolCore::Actions actions;
  if (died) {
    core_->Died(driver, 0, &actions);
  } else {
    core_->DriverLeft(driver, &actions);
  }
  Apply(actions);
}

void PoolServer::JobOver(ClientId driver) {
  if (const auto job = jobs_.find(driver); job != jobs_.end()) executed_before_ += job->second.executed_before;
  jobs_.erase(driver);
  for (auto& [number, connection] : connections_) {
    if (connection->client != driver || connection->closed) continue;
    Send(*connection, Kind::kDone, connection->detach_request, wire::Bare{});
    connection->client = 0;
    Closed(*connection);
  }
  if (embedded_ && jobs_.empty()) ended_ = true;
}

void PoolServer::DrainWorker(ClientId worker, Now deadline, bool job_over) {
  const auto at = memory_.find(worker);
  if (at == memory_.end()) return;
  at->second.kill_at = std::min(at->second.kill_at, deadline);
  // Said again only when it changes what the other does.
  const bool said = job_over ? std::exchange(at->second.over, true) : at->second.over;
  if (std::exchange(at->second.draining, true) && (said || !job_over)) return;
  wire::Drain drain{};
  drain.job_over = job_over ? 1 : 0;
  if (Connection* connection = ConnectionOf(worker)) Send(*connection, Kind::kDrain, 0, drain);
}

void PoolServer::ClientDied(ClientId client, std::int32_t status) {
  if (!core_->Find(client)) return;
  // What it said before it died counts: above all, which segments it had mapped. Its published results lie in them.
  if (const auto at = memory_.find(client); at != memory_.end()) {
    const std::uint64_t number = at->second.connection;
    if (Connection* connection = FindConnection(number)) connection->spawn = 0;  // it is dead already
    ReadToTheEnd(number);
  }
  const PoolCore::Client* entry = core_->Find(client);
  if (!entry) return;
  const bool ready = entry->state == wire::ClientState::kAlive;
  if (const auto at = jobs_.find(entry->job); at != jobs_.end()) at->second.executed_before += ExecutedBy(client);
  if (const auto at = memory_.find(client); at != memory_.end()) {
    at->second.kill_at = INT64_MAX;
    if (Connection* connection = FindConnection(at->second.connection)) {
      connection->client = 0;
      Closed(*connection);
    }
  }
  // Everybody hears of the death before a region that it frees is lent again; the lease core hears of it before it
  // hears that somebody has forgotten the dead.
  PoolCore::Actions actions;
  core_->Died(client, status, &actions);
  const auto forgotten = std::find_if(actions.begin(), actions.end(), [](const pool::Action& action) {
    return std::holds_alternative<pool::SendForgotten>(action);
  });
  Apply(PoolCore::Actions(actions.begin(), forgotten));
  if (ready) Tell(lease::ClientDied{client, status});
  Apply(PoolCore::Actions(forgotten, actions.end()));
}

}  // namespace sheaf
