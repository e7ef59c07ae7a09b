#include "scheduler/lease_core.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace sheaf::lease {

LeaseCore::LeaseCore(const Config& config) : config_(config) {
  SHEAF_CHECK((config.slots > 0 || config.clustered) && config.pairs_max > 0 && config.spawn_failures_max > 0 &&
              config.turn > 0);
}

std::vector<Action> LeaseCore::OnEvent(const Event& event, Time now) {
  actions_.clear();
  std::visit([&](const auto& e) { On(e, now); }, event);
  Plan(now);
  Check();
  std::vector<Action> actions;
  actions.swap(actions_);
  return actions;
}

ClientView* LeaseCore::Find(Client client) {
  const auto found = clients_.find(client);
  return found == clients_.end() ? nullptr : &found->second;
}

void LeaseCore::On(const JobStarted& event, Time) {
  SHEAF_CHECK(event.job != 0 && !clients_.contains(event.job) && !jobs_.contains(event.job));
  jobs_[event.job].slots_max = event.slots_max;
  clients_[event.job].job = event.job;
  crews_[{event.job, 0}] = {};
  turns_.emplace_back(event.job, 0);
}

void LeaseCore::On(const ShapeNamed& event, Time) {
  const auto job = jobs_.find(event.job);
  if (job == jobs_.end() || job->second.ended || event.shape == 0) return;
  const auto [crew, fresh] = crews_.try_emplace({event.job, event.shape});
  SHEAF_CHECK(fresh || crew->second.needs == event.needs);
  if (!fresh) return;
  crew->second.needs = event.needs;
  crew->second.fits = Satisfies(config_.has, event.needs);
  turns_.push_back(crew->first);
}

void LeaseCore::On(const JobLimited& event, Time) {
  if (const auto job = jobs_.find(event.job); job != jobs_.end()) job->second.slots_max = event.slots_max;
}

void LeaseCore::On(const JobEnded& event, Time) { EndJob(event.job); }

void LeaseCore::On(const WorkerReady& event, Time now) {
  SHEAF_CHECK(event.client != 0 && !clients_.contains(event.client));
  const auto spawn = spawns_.find(event.spawn);
  cancelled_.erase(event.spawn);
  if (spawn == spawns_.end()) {
    // Cancelled, or given up, while it was attaching.
    actions_.push_back(StopWorker{event.client});
    return;
  }
  ClientView& worker = clients_[event.client];
  worker.job = spawn->second.job;
  worker.shape = spawn->second.shape;
  worker.worker = true;
  spawns_.erase(spawn);
  SpawnEnded(worker.job, true, now);
}

void LeaseCore::On(const SpawnFailed& event, Time now) {
  cancelled_.erase(event.spawn);
  const auto spawn = spawns_.find(event.spawn);
  if (spawn == spawns_.end()) return;
  const Client job = spawn->second.job;
  spawns_.erase(spawn);
  SpawnEnded(job, false, now);
}

void LeaseCore::On(const Want& event, Time) {
  ClientView* client = Find(event.client);
  if (!client) return;  // it died while its message was under way
  if (config_.bug_want_lost_while_spawning && !spawns_.empty()) return;
  client->wishes.erase(event.shape);
  const auto crew = crews_.find({client->job, event.shape});
  if (crew == crews_.end() || (event.workers == 0 && event.elsewhere == 0)) return;
  if (draining_ || jobs_.at(client->job).ended) {
    actions_.push_back(Refuse{event.client, Reason::kStopping, event.shape});
    return;
  }
  if ((event.cpus_milli > CapacityMilli() || !crew->second.fits) && !config_.clustered) {
    actions_.push_back(Refuse{event.client, Reason::kInfeasible, event.shape});
    return;
  }
  client->wishes[event.shape] = {event.workers, event.elsewhere, event.cpus_milli};
}

void LeaseCore::On(const RelayReady& event, Time) {
  SHEAF_CHECK(event.client != 0 && event.places > 0 && !clients_.contains(event.client));
  const auto job = jobs_.find(event.job);
  if (job == jobs_.end() || job->second.ended || draining_ || !crews_.contains({event.job, event.shape})) {
    actions_.push_back(StopWorker{event.client});
    return;
  }
  ClientView& relay = clients_[event.client];
  relay.job = event.job;
  relay.worker = true;
  relay.shape = event.shape;
  relay.places = event.places;
  relay.cpus_milli = event.cpus_milli;
}

void LeaseCore::On(const RelayLeaving& event, Time) {
  ClientView* relay = Find(event.client);
  if (relay && relay->places > 0) Stop(event.client);
}

void LeaseCore::On(const Blocked& event, Time) {
  ClientView* client = Find(event.client);
  if (client && client->worker) client->blocked = event.blocked;
}

void LeaseCore::On(const ClientDied& event, Time) {
  const auto found = clients_.find(event.client);
  if (found == clients_.end()) return;
  if (!found->second.worker) return EndJob(event.client);
  clients_.erase(found);
  BreakPairs(event.client);
}

void LeaseCore::On(const PeerForgotten& event, Time) {
  const PairKey key{event.dead, event.survivor};
  const auto pair = pairs_.find(key);
  if (pair != pairs_.end() && pair->second.state == PairState::kBroken) ErasePair(key);
}

void LeaseCore::On(const WorkerReturned& event, Time) {
  const PairKey key{event.submitter, event.worker};
  const auto pair = pairs_.find(key);
  if (pair == pairs_.end() || pair->second.state == PairState::kBroken) return;
  actions_.push_back(FreePair{event.submitter, pair->second.out_region, event.worker, pair->second.in_region});
  ErasePair(key);
}

void LeaseCore::On(const Drain&, Time) {
  draining_ = true;
  for (auto& [id, client] : clients_) {
    client.wishes.clear();
    if (client.worker) Stop(id);
  }
  for (auto spawn = spawns_.begin(); spawn != spawns_.end();) spawn = Cancel(spawn);
}

void LeaseCore::On(const Tick&, Time now) {
  for (auto spawn = spawns_.begin(); spawn != spawns_.end();) {
    if (spawn->second.deadline > now) {
      ++spawn;
      continue;
    }
    const Client job = spawn->second.job;
    spawn = Cancel(spawn);
    SpawnEnded(job, false, now);
  }
  if (waiting_since_ != kNever && now - waiting_since_ >= config_.turn && !turns_.empty()) {
    // Whoever is served now goes behind those who were not.
    std::vector<CrewKey> order, served;
    for (const CrewKey& crew : turns_) (crews_.at(crew).target == 0 ? order : served).push_back(crew);
    order.insert(order.end(), served.begin(), served.end());
    turns_.swap(order);
    waiting_since_ = now;
  }
}

void LeaseCore::EndJob(Client job) {
  const auto found = jobs_.find(job);
  if (found == jobs_.end() || found->second.ended) return;
  found->second.ended = true;
  found->second.next_spawn = 0;
  std::erase_if(turns_, [&](const CrewKey& crew) { return crew.first == job; });
  clients_.erase(job);
  BreakPairs(job);
  for (auto& [id, client] : clients_) {
    if (client.job != job) continue;
    client.wishes.clear();
    Stop(id);
  }
  for (auto spawn = spawns_.begin(); spawn != spawns_.end();)
    spawn = spawn->second.job == job ? Cancel(spawn) : std::next(spawn);
}

std::map<Spawn, SpawnView>::iterator LeaseCore::Cancel(std::map<Spawn, SpawnView>::iterator spawn) {
  const Needs& needs = crews_.at({spawn->second.job, spawn->second.shape}).needs;
  if (!needs.resources.empty()) cancelled_[spawn->first] = needs;
  actions_.push_back(CancelSpawn{spawn->first});
  return spawns_.erase(spawn);
}

void LeaseCore::Stop(Client worker) {
  ClientView& view = clients_.at(worker);
  if (std::exchange(view.stopping, true)) return;
  actions_.push_back(StopWorker{worker});
}

// A submitter's region towards a dead worker is free at once: nobody reads it any more. A worker's region with results for
// a dead submitter stays taken until it is forgotten: others may still read those.
void LeaseCore::BreakPairs(Client dead) {
  std::vector<PairKey> over;
  for (auto& [key, pair] : pairs_) {
    if (key.second == dead || (key.first == dead && config_.bug_region_freed_at_death)) over.push_back(key);
    if (key.first == dead) pair.state = PairState::kBroken;
  }
  for (const PairKey& key : over) ErasePair(key);
}

void LeaseCore::ErasePair(PairKey key) {
  const PairView pair = pairs_.at(key);
  if (ClientView* submitter = Find(key.first)) SHEAF_CHECK(submitter->out_used.erase(pair.out_region) == 1);
  if (ClientView* worker = Find(key.second)) SHEAF_CHECK(worker->in_used.erase(pair.in_region) == 1);
  pairs_.erase(key);
}

void LeaseCore::RefuseJob(Client job, Reason reason) {
  for (auto& [id, client] : clients_) {
    if (client.job != job) continue;
    for (auto wish = client.wishes.begin(); wish != client.wishes.end();) {
      const bool refused = wish->second.workers > 0;
      if (refused) actions_.push_back(Refuse{id, reason, wish->first});
      wish = refused ? client.wishes.erase(wish) : std::next(wish);
    }
  }
}

void LeaseCore::SpawnEnded(Client job_id, bool ready, Time now) {
  JobView& job = jobs_.at(job_id);
  if (ready) {
    job.failures = 0;
    job.next_spawn = 0;
    return;
  }
  job.next_spawn = now + (config_.backoff_first << std::min<std::uint32_t>(job.failures, 20));
  if (++job.failures < config_.spawn_failures_max) return;
  job.failures = 0;
  RefuseJob(job_id, Reason::kSpawnFailed);
}

Time LeaseCore::NextDeadline() const {
  Time next = kNever;
  for (const auto& [id, spawn] : spawns_) next = std::min(next, spawn.deadline);
  if (waiting_since_ != kNever) next = std::min(next, waiting_since_ + config_.turn);
  for (const auto& [id, job] : jobs_) {
    if (job.next_spawn != 0) next = std::min(next, job.next_spawn);
    if (job.stuck_since != kNever) next = std::min(next, job.stuck_since + config_.stuck_after);
  }
  for (const auto& [id, crew] : crews_)
    if (crew.surplus_since != kNever) next = std::min(next, crew.surplus_since + config_.idle_worker_ttl);
  return next;
}

void LeaseCore::Check() const {
  std::map<Client, std::set<std::uint32_t>> out, in;
  for (const auto& [key, pair] : pairs_) {
    const bool submitter = clients_.contains(key.first), worker = clients_.contains(key.second);
    SHEAF_CHECK(key.first != key.second);
    SHEAF_CHECK(pair.out_region < config_.pairs_max && pair.in_region < config_.pairs_max);
    SHEAF_CHECK(worker && submitter == (pair.state != PairState::kBroken));
    if (submitter && worker) SHEAF_CHECK(clients_.at(key.first).job == clients_.at(key.second).job);
    SHEAF_CHECK(clients_.at(key.second).worker);
    SHEAF_CHECK(out[key.first].insert(pair.out_region).second);  // no region lent twice
    SHEAF_CHECK(in[key.second].insert(pair.in_region).second);
  }
  std::map<Client, bool> populated;
  for (const auto& [id, client] : clients_) {
    SHEAF_CHECK(client.out_used == out[id] && client.in_used == in[id]);  // and none lost
    SHEAF_CHECK(jobs_.contains(client.job) && (client.worker ? client.job != id : client.job == id));
    SHEAF_CHECK(!client.blocked || client.worker);
    SHEAF_CHECK(client.wishes.empty() || (!jobs_.at(client.job).ended && !draining_));
    for (const auto& [shape, wish] : client.wishes) {
      SHEAF_CHECK(wish.workers + wish.elsewhere > 0 && crews_.contains({client.job, shape}));
      SHEAF_CHECK(wish.cpus_milli <= CapacityMilli() || config_.clustered);
    }
    SHEAF_CHECK(crews_.contains({client.job, client.shape}));
    SHEAF_CHECK(client.places == 0 || (client.worker && config_.clustered));
    populated[client.job] = true;
  }
  for (const auto& [id, spawn] : spawns_) {
    SHEAF_CHECK(jobs_.contains(spawn.job) && !jobs_.at(spawn.job).ended && !draining_);
    populated[spawn.job] = true;
  }
  for (const auto& [id, job] : jobs_) SHEAF_CHECK(populated[id] && crews_.contains({id, 0}));
  std::uint64_t shares = 0;
  for (const auto& [id, crew] : crews_) {
    const bool ended = jobs_.at(id.first).ended;
    SHEAF_CHECK(ended == (std::find(turns_.begin(), turns_.end(), id) == turns_.end()));
    SHEAF_CHECK(crew.target == 0 || (!ended && crew.fits));
    shares += std::uint64_t{crew.target} * Width(id);
  }
  for (const auto& [name, amount] : config_.has.resources) SHEAF_CHECK(Held(name) <= amount);
  SHEAF_CHECK(shares <= CapacityMilli());
}

std::string Describe(const Action& action) {
  struct Text {
    static std::string Of(std::uint32_t n) { return std::to_string(n); }
    std::string operator()(const SpawnWorker& a) const { return "spawn " + Of(a.spawn) + " job " + Of(a.job); }
    std::string operator()(const CancelSpawn& a) const { return "cancel " + Of(a.spawn); }
    std::string operator()(const OpenPair& a) const {
      return "open " + Of(a.submitter) + "." + Of(a.out_region) + " " + Of(a.worker) + "." + Of(a.in_region);
    }
    std::string operator()(const ClosePair& a) const { return "close " + Of(a.submitter) + " " + Of(a.worker); }
    std::string operator()(const FreePair& a) const {
      return "free " + Of(a.submitter) + "." + Of(a.out_region) + " " + Of(a.worker) + "." + Of(a.in_region);
    }
    std::string operator()(const StopWorker& a) const { return "stop " + Of(a.worker); }
    std::string operator()(const Refuse& a) const {
      return "refuse " + Of(a.client) + " " + Of(static_cast<std::uint32_t>(a.reason)) +
             (a.shape ? " shape " + Of(a.shape) : "");
    }
  };
  return std::visit(Text{}, action);
}

}  // namespace sheaf::lease
