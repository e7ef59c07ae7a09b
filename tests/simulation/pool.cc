// The simulated pool daemon: worker/pool_clients.cc and pool_leases.cc around the real cores, and the sockets.
#include <algorithm>

#include "tests/simulation/processes.h"

namespace sheaf::simulation {

constexpr Time kDrainTime = 5 * kSecond;  // as the pool: a worker that was asked to exit is killed after this

namespace {

template <class... Fs>
struct Overloaded : Fs... {
  using Fs::operator()...;
};

PoolCore::Config CoreConfig(const Cluster& cluster) {
  PoolCore::Config config;
  config.pairs = cluster.pairs;
  config.budget_bytes = 1ull << 40;
  return config;
}
lease::LeaseCore::Config LeaseConfig(const Cluster& cluster) {
  lease::LeaseCore::Config config;
  config.slots = cluster.options.slots;
  config.extra_workers_max = cluster.options.extra_workers;
  config.pairs_max = cluster.pairs;
  config.bug_blocked_keeps_slot = cluster.options.bug == Bug::kBlockedKeepsSlot;
  config.bug_want_lost_while_spawning = cluster.options.bug == Bug::kWantLostWhileSpawning;
  config.bug_region_freed_at_death = cluster.options.bug == Bug::kRegionFreedAtDeath;
  return config;
}
constexpr std::uint64_t kBuild[4] = {1, 2, 3, 4};

}  // namespace

Pool::Pool(Cluster& cluster) : cluster_(cluster), core_(CoreConfig(cluster)), leases_(LeaseConfig(cluster)) {
  cluster.pool = this;
}

Process& Pool::NewProcess(Client id, Client job) {
  auto memory = std::make_unique<Memory>();
  for (std::uint32_t i = 0; i < cluster_.pairs; ++i) {
    memory->outs.push_back(std::make_unique<store::OutRegion>());
    memory->ins.push_back(std::make_unique<store::InRegion>());
  }
  auto process = std::make_unique<Process>();
  process->id = id;
  process->job = job;
  process->memory = memory.get();
  process->submitter = std::make_unique<Submitter>(cluster_, *process);
  cluster_.memories[id] = std::move(memory);
  cluster_.processes[id] = std::move(process);
  return cluster_.ProcessOf(id);
}

void Pool::StartDriver() {
  Client id = 0;
  PoolCore::Actions actions;
  if (!core_.AddDriver(kBuild, &id, &actions)) cluster_.Fail("a driver was refused");
  core_.Attached(id, &actions);
  Apply(actions);
  Process& process = NewProcess(id, id);
  process.driver = std::make_unique<Driver>(cluster_, process);
  Tell(lease::JobStarted{id});
  RunProcess(process);
}

void Pool::Spawned(lease::Spawn spawn, Client job) {
  if (cancelled_.erase(spawn) > 0) return;
  Client id = 0;
  PoolCore::Actions actions;
  if (failing_ > 0 || !core_.AddWorker(job, kBuild, &id, &actions)) {
    if (failing_ > 0) --failing_;
    return Tell(lease::SpawnFailed{spawn, 0});
  }
  core_.Attached(id, &actions);
  Apply(actions);
  Process& process = NewProcess(id, job);
  process.executor = std::make_unique<Executor>(cluster_, process);
  RunProcess(process);
  Tell(lease::WorkerReady{spawn, id});
}

// Two activities: the main thread, and the helper that pumps and acknowledges deaths.
void Pool::RunProcess(Process& process) {
  const Client id = process.id;
  const auto main = [this, id](const auto& again) -> void {
    Process& self = cluster_.ProcessOf(id);
    if (!self.alive) return;
    const auto next = self.executor ? self.executor->Step() : self.driver->Step();
    if (!next) {
      if (self.executor) Kill(id);
      return;
    }
    cluster_.world.After(*next, [again] { again(again); });
  };
  const auto helper = [this, id](const auto& again) -> void {
    Process& self = cluster_.ProcessOf(id);
    if (!self.alive) return;
    self.submitter->Pump();
    for (const Client dead : std::set(self.gone)) {
      bool uses = self.submitter->Uses(dead) || (self.executor && self.executor->Uses(dead));
      for (const auto object : self.refs) uses |= cluster_.TaskOf(object).creator == dead;
      if (uses) continue;
      self.gone.erase(dead);
      self.acknowledged.insert(dead);
      Acknowledge(self, dead);
    }
    const bool busy = self.submitter->outstanding() > 0 || !self.gone.empty();
    cluster_.world.After(cluster_.world.Chance(50 * kMicro, busy ? 400 * kMicro : 3 * kMilli),
                         [again] { again(again); });
  };
  cluster_.world.After(1, [main] { main(main); });
  cluster_.world.After(kMicro, [helper] { helper(helper); });
}

// ---- sockets: reliable, in order, delayed, cut by death ---------------------------------------------------------

void Pool::ToClient(Client client, std::function<void(Process&)> what) {
  const auto at = cluster_.processes.find(client);
  if (at == cluster_.processes.end()) return;
  Process& to = *at->second;
  to.last_received = std::max(to.last_received + 1, cluster_.world.now + cluster_.world.Chance(5 * kMicro, kMilli));
  cluster_.world.After(to.last_received - cluster_.world.now, [this, client, what = std::move(what)] {
    Process& process = cluster_.ProcessOf(client);
    if (process.alive) what(process);
  });
}

void Pool::FromClient(Process& from, std::function<void()> what) {
  from.last_sent = std::max(from.last_sent + 1, cluster_.world.now + cluster_.world.Chance(5 * kMicro, kMilli));
  cluster_.world.After(from.last_sent - cluster_.world.now, [this, client = from.id, what = std::move(what)] {
    const Process& process = cluster_.ProcessOf(client);
    if (process.alive || cluster_.world.now <= process.cut) what();
  });
}

void Pool::Send(Process& from, lease::Event message) {
  FromClient(from, [this, message] { Tell(message); });
}

void Pool::Acknowledge(Process& from, Client dead) {
  FromClient(from, [this, client = from.id, dead] {
    PoolCore::Actions actions;
    if (!core_.Acknowledge(client, dead, &actions)) cluster_.Fail("an acknowledgement about a living client");
    Apply(actions);
  });
}

void Pool::Leave(Process& from) {
  FromClient(from, [this, client = from.id] {
    cluster_.world.Note("driver leaves", client);
    Tell(lease::JobEnded{client});
    PoolCore::Actions actions;
    core_.DriverLeft(client, &actions);
    Apply(actions);
    Kill(client);
  });
}

// ---- death ------------------------------------------------------------------------------------------------------

void Pool::Kill(Client client) {
  Process& process = cluster_.ProcessOf(client);
  if (!process.alive) return;
  cluster_.world.Note("dies", client);
  process.alive = false;
  process.refs.clear();
  process.cut = cluster_.world.now + cluster_.world.Chance(0, 500 * kMicro);
  const Time seen = process.cut - cluster_.world.now + cluster_.world.Chance(1, 2 * kMilli);
  cluster_.world.After(seen, [this, client] { Died(client); });
}

void Pool::Died(Client client) {
  PoolCore::Actions actions;
  const PoolCore::Client* entry = core_.Find(client);
  if (entry && entry->role == wire::Role::kDriver && !entry->left) Tell(lease::JobEnded{client});
  core_.Died(client, 9, &actions);
  const auto forgotten = std::find_if(actions.begin(), actions.end(), [](const pool::Action& action) {
    return std::holds_alternative<pool::SendForgotten>(action);
  });
  Apply(PoolCore::Actions(actions.begin(), forgotten));
  Tell(lease::ClientDied{client, 9});
  Apply(PoolCore::Actions(forgotten, actions.end()));
}

void Pool::DrainWorker(Client worker) {
  ToClient(worker, [](Process& process) { process.executor->Drain(); });
  cluster_.world.After(kDrainTime, [this, worker] { Kill(worker); });
}

void Pool::Apply(const PoolCore::Actions& actions) {
  for (const pool::Action& action : actions) {
    std::visit(Overloaded{
                   [&](const pool::WriteState& a) {
                     const State state = a.state == wire::ClientState::kAlive  ? State::kAlive
                                         : a.state == wire::ClientState::kDead ? State::kDead
                                                                               : State::kFree;
                     cluster_.page[IndexOf(a.client)] = {a.client, state};
                     cluster_.world.Note("page", a.client, static_cast<std::uint64_t>(a.state));
                   },
                   [&](const pool::SendGone& a) {
                     ToClient(a.to, [peer = a.peer](Process& process) {
                       process.gone.insert(peer);
                       if (process.executor) process.executor->PeerGone(peer);
                       process.submitter->PeerGone(peer);
                     });
                   },
                   [&](const pool::SendForgotten& a) { Tell(lease::PeerForgotten{a.to, a.peer}); },
                   [&](const pool::SendHeirs&) {},
                   [&](const pool::SendSettled&) {},
                   [&](const pool::SendAlone&) {},
                   [&](const pool::SendSegmentGone&) {},
                   [&](const pool::DropSegment& a) {
                     if (a.segment == 0) cluster_.memories.at(a.owner)->forgotten = true;
                   },
                   [&](const pool::SendWanted&) {},
                   [&](const pool::AnswerOpen&) {},
                   [&](const pool::AnswerAway&) {},
                   [&](const pool::RefuseOpen&) {},
                   [&](const pool::SendHasArrived&) {},
                   [&](const pool::EndWorker& a) { DrainWorker(a.worker); },
                   [&](const pool::JobOver& a) { cluster_.world.Note("job over", a.driver); },
               },
               action);
  }
  core_.Check();
}

// ---- leases -----------------------------------------------------------------------------------------------------

void Pool::Tell(const lease::Event& event) {
  for (const lease::Action& action : leases_.OnEvent(event, cluster_.world.now)) Carry(action);
  Tick();
}

void Pool::Tick() {
  const Time next = leases_.NextDeadline();
  if (next == lease::kNever || (tick_at_ > cluster_.world.now && tick_at_ <= next)) return;
  tick_at_ = std::max(next, cluster_.world.now + 1);
  cluster_.world.After(tick_at_ - cluster_.world.now, [this, at = tick_at_] {
    if (tick_at_ == at) Tell(lease::Tick{});
  });
}

void Pool::Carry(const lease::Action& action) {
  cluster_.world.Note(Describe(action));
  std::visit(Overloaded{
                 [&](const lease::SpawnWorker& a) {
                   cluster_.world.After(cluster_.world.Chance(kMilli, 15 * kMilli),
                                        [this, a] { Spawned(a.spawn, a.job); });
                 },
                 [&](const lease::CancelSpawn& a) { cancelled_.insert(a.spawn); },
                 [&](const lease::OpenPair& a) {
                   const std::uint32_t nonce = next_nonce_++;
                   ToClient(a.worker, [a, nonce](Process& process) { process.executor->OpenIn(a, nonce); });
                   ToClient(a.submitter, [a, nonce](Process& process) { process.submitter->OpenOut(a, nonce); });
                 },
                 [&](const lease::ClosePair&) {},  // the runtime gives nothing back yet
                 [&](const lease::FreePair&) {},
                 [&](const lease::StopWorker& a) { DrainWorker(a.worker); },
                 [&](const lease::Refuse& a) {
                   if (a.reason == lease::Reason::kLimit) cluster_.Fail("everybody waits and no worker may be added");
                   ToClient(a.client, [](Process& process) { process.submitter->FailAll(); });
                 },
             },
             action);
}

}  // namespace sheaf::simulation
