// The lease core's plan: shares of the CPUs, workers to start and to stop, pairs to open.
#include <algorithm>

#include "base/check.h"
#include "scheduler/lease_core.h"

namespace sheaf::lease {

void LeaseCore::Plan(Time now) {
  std::erase_if(jobs_, [&](const auto& job) {
    if (!job.second.ended) return false;
    return std::none_of(clients_.begin(), clients_.end(), [&](const auto& c) { return c.second.job == job.first; });
  });
  Share(now);
  MakeRoom(now);
  StartWorkers(now);
  StopSurplus(now);
  ConnectClients();
  RefuseTheStuck(now);
}

std::uint32_t LeaseCore::Width(Client job) const {
  std::uint32_t width = 1000;
  for (const auto& [id, client] : clients_)
    if (client.job == job && client.want + client.elsewhere > 0) width = std::max(width, client.cpus_milli);
  return width;
}

std::uint32_t LeaseCore::Running(Client job) const {
  std::uint32_t running = 0;
  for (const auto& [id, client] : clients_)
    if (client.job == job && client.worker && client.places == 0 && (!client.blocked || config_.bug_blocked_keeps_slot))
      ++running;
  for (const auto& [id, spawn] : spawns_) running += spawn.job == job;
  return running;
}

std::uint64_t LeaseCore::OccupiedMilli() const {
  std::uint64_t milli = 0;
  for (const auto& [id, job] : jobs_) milli += std::uint64_t{Running(id)} * Width(id);
  return milli;
}

std::uint64_t LeaseCore::LiveWorkers() const {
  std::uint64_t live = spawns_.size();
  for (const auto& [id, client] : clients_) live += client.worker && client.places == 0;
  return live;
}

std::uint64_t LeaseCore::Demand(Client job) const {
  std::uint64_t demand = 0;
  for (const auto& [id, client] : clients_)
    if (client.job == job) demand += client.want;
  return std::min<std::uint64_t>(demand, std::min(config_.slots, jobs_.at(job).slots_max));
}

std::uint64_t LeaseCore::Elsewhere(Client job) const {
  std::uint64_t wanted = 0;
  for (const auto& [id, client] : clients_)
    if (client.job == job) wanted += client.elsewhere;
  return wanted;
}

bool LeaseCore::Wants(Client job) const { return Demand(job) > 0; }

// Whoever has least gets the next worker, as long as one fits; ties go by turn. Integer arithmetic
// throughout.
void LeaseCore::Share(Time now) {
  for (auto& [id, job] : jobs_) job.target = 0;
  std::uint64_t left = CapacityMilli();
  for (;;) {
    Client next = 0;
    std::uint64_t least = 0;
    for (const Client id : turns_) {
      const JobView& job = jobs_.at(id);
      const std::uint64_t width = Width(id);
      if (job.target >= Demand(id) || width > left) continue;
      if (next != 0 && job.target * width >= least) continue;
      next = id;
      least = job.target * width;
    }
    if (next == 0) break;
    ++jobs_.at(next).target;
    left -= Width(next);
  }
  const bool waiting =
      std::any_of(turns_.begin(), turns_.end(), [&](Client id) { return Wants(id) && jobs_.at(id).target == 0; });
  if (!waiting) {
    waiting_since_ = kNever;
  } else if (waiting_since_ == kNever) {
    waiting_since_ = now;
  }
}

// A worker that the pool can do without: nothing of its own outstanding, few submitters, young.
Client LeaseCore::PickToStop(Client job) const {
  Client best = 0;
  std::pair<std::uint32_t, std::uint32_t> least;
  for (const auto& [id, client] : clients_) {
    if (client.job != job || !client.worker || client.places > 0 || client.blocked || client.stopping) continue;
    const std::pair<std::uint32_t, std::uint32_t> cost{client.want, PairsOf(id)};
    if (best != 0 && cost > least) continue;
    best = id;
    least = cost;
  }
  return best;
}

void LeaseCore::MakeRoom(Time) {
  // What is missing, and what becomes free by itself because it is being stopped.
  std::uint64_t needed = 0, occupied = 0;
  for (const auto& [id, job] : jobs_) {
    std::uint64_t kept = Running(id);
    for (const auto& [other, client] : clients_)
      if (client.job == id && client.worker && client.places == 0 && client.stopping && !client.blocked) --kept;
    occupied += kept * Width(id);
    if (job.target > kept) needed += (job.target - kept) * std::uint64_t{Width(id)};
  }
  while (needed > 0 && occupied + needed > CapacityMilli()) {
    // From the job that has most above its share: first what is only being started, then a worker.
    Client from = 0;
    std::uint64_t most = 0;
    for (const auto& [id, job] : jobs_) {
      std::uint64_t running = Running(id);
      for (const auto& [other, client] : clients_)
        if (client.job == id && client.worker && client.places == 0 && client.stopping && !client.blocked) --running;
      if (running <= job.target || (running - job.target) * Width(id) <= most) continue;
      from = id;
      most = (running - job.target) * Width(id);
    }
    if (from == 0) return;
    const auto spawn =
        std::find_if(spawns_.rbegin(), spawns_.rend(), [&](const auto& entry) { return entry.second.job == from; });
    if (spawn != spawns_.rend()) {
      actions_.push_back(CancelSpawn{spawn->first});
      spawns_.erase(spawn->first);
    } else {
      const Client worker = PickToStop(from);
      if (worker == 0) return;
      Stop(worker);
    }
    occupied -= Width(from);
  }
}

void LeaseCore::StartWorkers(Time now) {
  if (draining_) return;
  std::uint64_t occupied = OccupiedMilli(), live = LiveWorkers();
  for (const Client id : turns_) {
    JobView& job = jobs_.at(id);
    if (job.next_spawn <= now) job.next_spawn = 0;
    const std::uint64_t width = Width(id);
    std::uint32_t running = Running(id);
    for (const auto& [other, client] : clients_)
      if (client.job == id && client.worker && client.places == 0 && client.stopping && !client.blocked) --running;
    while (running < job.target && job.next_spawn == 0 && occupied + width <= CapacityMilli() &&
           live < std::uint64_t{config_.slots} + config_.extra_workers_max) {
      const Spawn spawn = next_spawn_++;
      spawns_[spawn] = {id, now + config_.spawn_timeout};
      actions_.push_back(SpawnWorker{spawn, id});
      ++running;
      ++live;
      occupied += width;
    }
  }
}

// More than the share, and in nobody's way: workers of a job that wants nothing stay warm for a
// while. Not where a wide task waits for their CPUs.
void LeaseCore::StopSurplus(Time now) {
  for (auto& [id, job] : jobs_) {
    const auto surplus = [&] {
      std::uint32_t running = 0;
      for (const auto& [other, client] : clients_)
        running += client.job == id && client.worker && client.places == 0 && !client.blocked && !client.stopping;
      return running > job.target ? running - job.target : 0;
    };
    if (job.ended || surplus() == 0) {
      job.surplus_since = kNever;
      continue;
    }
    if (job.surplus_since == kNever) job.surplus_since = now;
    const bool in_the_way = Width(id) > 1000 && OccupiedMilli() > CapacityMilli();
    if (!in_the_way && now - job.surplus_since < config_.idle_worker_ttl) continue;
    for (std::uint32_t left = surplus(); left > 0; --left) Stop(PickToStop(id));
    job.surplus_since = kNever;
  }
}

std::uint32_t LeaseCore::PairsOf(Client worker) const {
  std::uint32_t pairs = 0;
  for (const auto& [key, pair] : pairs_) pairs += key.second == worker && pair.state == PairState::kOpen;
  return pairs;
}

// Workers of this machine, or places at relays.
std::uint32_t LeaseCore::UsablePairs(Client submitter, bool relays) const {
  std::uint32_t usable = 0;
  for (auto pair = pairs_.lower_bound({submitter, 0}); pair != pairs_.end() && pair->first.first == submitter; ++pair) {
    if (pair->second.state != PairState::kOpen) continue;
    const ClientView& worker = clients_.at(pair->first.second);
    if (worker.blocked || worker.stopping) continue;
    if (relays) {
      usable += worker.places;
    } else if (worker.places == 0) {
      ++usable;
    }
  }
  return usable;
}

Client LeaseCore::PickWorkerFor(Client submitter, bool relay) const {
  const Client job = clients_.at(submitter).job;
  Client best = 0;
  std::uint32_t least = 0;
  for (const auto& [id, client] : clients_) {
    if (client.job != job || !client.worker || client.blocked || client.stopping || id == submitter) continue;
    if ((client.places > 0) != relay) continue;
    if (client.in_used.size() >= config_.pairs_max || pairs_.contains({submitter, id})) continue;
    const std::uint32_t load = PairsOf(id);
    if (best != 0 && load >= least) continue;
    best = id;
    least = load;
  }
  return best;
}

bool LeaseCore::Connect(Client submitter, bool relay) {
  const auto lowest_free = [](const std::set<std::uint32_t>& used) {
    std::uint32_t region = 0;
    for (const std::uint32_t taken : used) {
      if (taken != region) break;
      ++region;
    }
    return region;
  };
  ClientView& client = clients_.at(submitter);
  const Client worker_id = client.out_used.size() < config_.pairs_max ? PickWorkerFor(submitter, relay) : 0;
  if (worker_id == 0) return false;
  ClientView& worker = clients_.at(worker_id);
  const PairView pair{lowest_free(client.out_used), lowest_free(worker.in_used), PairState::kOpen};
  client.out_used.insert(pair.out_region);
  worker.in_used.insert(pair.in_region);
  pairs_[{submitter, worker_id}] = pair;
  actions_.push_back(OpenPair{submitter, pair.out_region, worker_id, pair.in_region});
  return true;
}

void LeaseCore::ConnectClients() {
  for (auto& [id, client] : clients_) {
    std::uint32_t usable = client.want > 0 ? UsablePairs(id) : 0;
    while (usable < client.want) {
      if (!Connect(id, false)) {
        if (usable == 0 && config_.slots > 0) AskForARegion(id);
        break;
      }
      ++usable;
    }
    while (client.elsewhere > 0 && UsablePairs(id, true) < client.elsewhere && Connect(id, true)) {
    }
  }
}

// No pair can be had because all regions are taken: one is asked back from somebody who wants
// nothing now.
void LeaseCore::AskForARegion(Client submitter) {
  const Client job = clients_.at(submitter).job;
  for (const auto& [key, pair] : pairs_)
    if (pair.state == PairState::kClosing && clients_.at(key.first).job == job) return;  // one at a time
  for (auto& [key, pair] : pairs_) {
    if (pair.state != PairState::kOpen || key.first == submitter || key.second == submitter) continue;
    const ClientView& holder = clients_.at(key.first);
    const ClientView& worker = clients_.at(key.second);
    if (holder.job != job || holder.want > 0 || worker.blocked || worker.stopping) continue;
    if (worker.in_used.size() < config_.pairs_max || pairs_.contains({submitter, key.second})) continue;
    pair.state = PairState::kClosing;
    actions_.push_back(ClosePair{key.first, key.second});
    return;
  }
}

// Everybody waits for something that only one more worker could bring, and there may be no more: an
// error, not a hang.
bool LeaseCore::AllWait(Client job) const {
  if (!Wants(job) || LiveWorkers() < std::uint64_t{config_.slots} + config_.extra_workers_max) {
    // Or more workers could not be reached: the wishers' regions are all taken by workers that
    // wait.
    bool reachable = !Wants(job);
    for (const auto& [id, client] : clients_) {
      if (client.job != job || client.want == 0 || reachable) continue;
      reachable = client.out_used.size() < config_.pairs_max || UsablePairs(id) > 0;
    }
    if (reachable) return false;
  }
  bool any = false;
  for (const auto& [id, client] : clients_) {
    if (client.job != job || !client.worker) continue;
    if (!client.blocked && PairsOf(id) > 0) return false;
    any = true;
  }
  return any;
}

void LeaseCore::RefuseTheStuck(Time now) {
  for (auto& [id, job] : jobs_) {
    if (job.ended || !AllWait(id)) {
      job.stuck_since = kNever;
      continue;
    }
    if (job.stuck_since == kNever) job.stuck_since = now;
    if (now - job.stuck_since < config_.stuck_after) continue;
    job.stuck_since = kNever;
    RefuseJob(id, Reason::kLimit);
  }
}

}  // namespace sheaf::lease
