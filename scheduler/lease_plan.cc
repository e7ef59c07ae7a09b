// The lease core's plan: shares of the CPUs and custom resources, workers to start, and those that are too many.
#include <algorithm>

#include "base/check.h"
#include "scheduler/lease_core.h"

namespace sheaf::lease {
namespace {

bool Suffices(const std::map<std::string, std::uint64_t>& left, const Needs& needs) {
  return std::all_of(needs.resources.begin(), needs.resources.end(), [&](const auto& need) {
    const auto found = left.find(need.first);
    return found != left.end() && found->second >= need.second;
  });
}

}  // namespace

void LeaseCore::Plan(Time now) {
  std::erase_if(jobs_, [&](const auto& job) {
    if (!job.second.ended) return false;
    return std::none_of(clients_.begin(), clients_.end(), [&](const auto& c) { return c.second.job == job.first; });
  });
  std::erase_if(crews_, [&](const auto& crew) { return !jobs_.contains(crew.first.first); });
  Share(now);
  MakeRoom();
  StartWorkers(now);
  StopSurplus(now);
  ConnectClients();
  RefuseTheStuck(now);
}

std::uint32_t LeaseCore::Width(CrewKey crew) const {
  std::uint32_t width = 1000;
  for (const auto& [id, client] : clients_) {
    if (client.job != crew.first || client.wishes.empty()) continue;
    if (const auto wish = client.wishes.find(crew.second); wish != client.wishes.end())
      width = std::max(width, wish->second.cpus_milli);
  }
  return width;
}

std::uint32_t LeaseCore::Running(CrewKey crew) const {
  std::uint32_t running = 0;
  for (const auto& [id, client] : clients_) {
    if (!IsOf(client, crew)) continue;
    running += !client.blocked || config_.bug_blocked_keeps_slot;
  }
  for (const auto& [id, spawn] : spawns_) running += CrewKey{spawn.job, spawn.shape} == crew;
  return running;
}

std::uint32_t LeaseCore::Kept(CrewKey crew) const {
  std::uint32_t kept = Running(crew);
  for (const auto& [id, client] : clients_) {
    if (!IsOf(client, crew)) continue;
    kept -= client.stopping && !client.blocked;
  }
  return kept;
}

std::uint32_t LeaseCore::Waiting(CrewKey crew) const {
  std::uint32_t waiting = 0;
  for (const auto& [id, client] : clients_) {
    if (!IsOf(client, crew)) continue;
    waiting += client.blocked;
  }
  return waiting;
}

std::uint64_t LeaseCore::OccupiedMilli(Client job) const {
  std::uint64_t milli = 0;
  for (auto crew = crews_.lower_bound({job, 0}); crew != crews_.end() && crew->first.first == job; ++crew)
    milli += std::uint64_t{Running(crew->first)} * Width(crew->first);
  return milli;
}

std::uint64_t LeaseCore::OccupiedMilli() const {
  std::uint64_t milli = 0;
  for (const auto& [crew, view] : crews_) milli += std::uint64_t{Running(crew)} * Width(crew);
  return milli;
}

std::uint64_t LeaseCore::Held(const std::string& resource, Client job) const {
  std::uint64_t held = 0;
  const auto add = [&](CrewKey crew) {
    if (job != 0 && crew.first != job) return;
    const auto& resources = crews_.at(crew).needs.resources;
    if (const auto found = resources.find(resource); found != resources.end()) held += found->second;
  };
  for (const auto& [id, client] : clients_)
    if (client.worker && client.places == 0 && client.shape != 0) add({client.job, client.shape});
  for (const auto& [id, spawn] : spawns_)
    if (spawn.shape != 0) add({spawn.job, spawn.shape});
  for (const auto& [id, needs] : cancelled_)
    if (const auto found = needs.resources.find(resource); job == 0 && found != needs.resources.end())
      held += found->second;
  return held;
}

std::uint64_t LeaseCore::LiveWorkers() const {
  std::uint64_t live = spawns_.size();
  for (const auto& [id, client] : clients_) live += client.worker && client.places == 0;
  return live;
}

std::uint64_t LeaseCore::Demand(CrewKey crew) const {
  if (!crews_.at(crew).fits) return 0;
  std::uint64_t demand = 0;
  for (const auto& [id, client] : clients_) {
    if (client.job != crew.first || client.wishes.empty()) continue;
    if (const auto wish = client.wishes.find(crew.second); wish != client.wishes.end()) demand += wish->second.workers;
  }
  return std::min<std::uint64_t>(demand, std::min(config_.slots, jobs_.at(crew.first).slots_max));
}

// What this machine can never run is wanted elsewhere at once.
std::uint64_t LeaseCore::Elsewhere(CrewKey crew) const {
  const auto view = crews_.find(crew);
  if (view == crews_.end()) return 0;
  std::uint64_t wanted = 0;
  for (const auto& [id, client] : clients_) {
    if (client.job != crew.first || client.wishes.empty()) continue;
    const auto wish = client.wishes.find(crew.second);
    if (wish == client.wishes.end()) continue;
    wanted += view->second.fits ? wish->second.elsewhere : std::max(wish->second.elsewhere, wish->second.workers);
  }
  return wanted;
}

bool LeaseCore::Wants(Client job) const {
  for (auto crew = crews_.lower_bound({job, 0}); crew != crews_.end() && crew->first.first == job; ++crew)
    if (Demand(crew->first) > 0) return true;
  return false;
}

// What those keep that wait inside Get, asked to stop or not: it does not come back by itself.
std::map<std::string, std::uint64_t> LeaseCore::KeptByWaiting() const {
  std::map<std::string, std::uint64_t> kept;
  for (const auto& [id, client] : clients_) {
    if (!client.worker || client.places > 0 || client.shape == 0 || !client.blocked) continue;
    for (const auto& [name, amount] : crews_.at({client.job, client.shape}).needs.resources) kept[name] += amount;
  }
  return kept;
}

// Whoever has least gets the next worker, as long as one fits; ties go by turn. Integer arithmetic
// throughout.
void LeaseCore::Share(Time now) {
  std::map<std::string, std::uint64_t> left_of = config_.has.resources;
  for (const auto& [name, amount] : KeptByWaiting()) left_of[name] -= std::min(left_of[name], amount);
  struct Claim {
    CrewView* crew;
    std::uint64_t demand, width;
  };
  std::vector<Claim> claims;
  for (auto& [key, crew] : crews_) crew.target = 0;
  for (const CrewKey& key : turns_) claims.push_back({&crews_.at(key), Demand(key), Width(key)});
  std::map<Client, std::uint64_t> shares, workers;
  std::uint64_t left = CapacityMilli();
  for (;;) {
    std::size_t next = claims.size();
    std::pair<std::uint64_t, std::uint64_t> least;
    for (std::size_t i = 0; i < claims.size(); ++i) {
      const Claim& claim = claims[i];
      if (claim.crew->target >= claim.demand || claim.width > left) continue;
      const Client job = turns_[i].first;
      if (workers[job] >= jobs_.at(job).slots_max || !Suffices(left_of, claim.crew->needs)) continue;
      const std::pair<std::uint64_t, std::uint64_t> has{shares[job], claim.crew->target * claim.width};
      if (next < claims.size() && has >= least) continue;
      next = i;
      least = has;
    }
    if (next == claims.size()) break;
    const Claim& claim = claims[next];
    ++claim.crew->target;
    ++workers[turns_[next].first];
    shares[turns_[next].first] += claim.width;
    left -= claim.width;
    for (const auto& [name, amount] : claim.crew->needs.resources) left_of.at(name) -= amount;
  }
  const bool waiting = std::any_of(turns_.begin(), turns_.end(), [&](const CrewKey& crew) {
    return Demand(crew) > 0 && crews_.at(crew).target == 0;
  });
  if (!waiting) {
    waiting_since_ = kNever;
  } else if (waiting_since_ == kNever) {
    waiting_since_ = now;
  }
}

void LeaseCore::StartWorkers(Time now) {
  if (draining_) return;
  std::uint64_t occupied = OccupiedMilli(), live = LiveWorkers();
  for (const CrewKey& key : turns_) {
    JobView& job = jobs_.at(key.first);
    const CrewView& crew = crews_.at(key);
    if (job.next_spawn <= now) job.next_spawn = 0;
    const std::uint64_t width = Width(key);
    const auto has_resources = [&] {
      return std::all_of(crew.needs.resources.begin(), crew.needs.resources.end(), [&](const auto& need) {
        return Held(need.first) + need.second <= config_.has.resources.at(need.first);
      });
    };
    std::uint32_t kept = Kept(key), of_job = 0;
    for (auto at = crews_.lower_bound({key.first, 0}); at != crews_.end() && at->first.first == key.first; ++at)
      of_job += Running(at->first);
    while (kept < crew.target && of_job < job.slots_max && job.next_spawn == 0 && occupied + width <= CapacityMilli() &&
           live < std::uint64_t{config_.slots} + config_.extra_workers_max && has_resources()) {
      const Spawn spawn = next_spawn_++;
      spawns_[spawn] = {key.first, key.second, now + config_.spawn_timeout};
      actions_.push_back(SpawnWorker{spawn, key.first});
      ++kept;
      ++of_job;
      ++live;
      occupied += width;
    }
  }
}

// More than the share, and in nobody's way: workers of a crew that wants nothing stay warm for a
// while. Not where a wide task waits for their CPUs.
void LeaseCore::StopSurplus(Time now) {
  for (auto& [key, crew] : crews_) {
    const auto surplus = [&, &key = key, &crew = crew] {
      std::uint32_t running = 0;
      for (const auto& [other, client] : clients_) running += IsOf(client, key) && !client.blocked && !client.stopping;
      return running > crew.target ? running - crew.target : 0;
    };
    if (jobs_.at(key.first).ended || surplus() == 0) {
      crew.surplus_since = kNever;
      continue;
    }
    if (crew.surplus_since == kNever) crew.surplus_since = now;
    const bool in_the_way = Width(key) > 1000 && OccupiedMilli() > CapacityMilli();
    if (!in_the_way && now - crew.surplus_since < config_.idle_worker_ttl) continue;
    for (std::uint32_t left = surplus(); left > 0; --left) Stop(PickToStop(key));
    crew.surplus_since = kNever;
  }
}

// What the crew needs is kept by those that wait inside Get, of whichever crew or job.
bool LeaseCore::HeldByWaiting(CrewKey crew) const {
  const CrewView& view = crews_.at(crew);
  if (view.needs.resources.empty() || view.target > 0 || Demand(crew) == 0) return false;
  const auto kept = KeptByWaiting();
  return std::any_of(view.needs.resources.begin(), view.needs.resources.end(), [&](const auto& need) {
    const auto found = kept.find(need.first);
    return found != kept.end() && found->second + need.second > config_.has.resources.at(need.first);
  });
}

// Everybody waits for something that only one more worker could bring, and there may be no more: an
// error, not a hang.
bool LeaseCore::AllWait(Client job) const {
  bool held = false;
  for (auto crew = crews_.lower_bound({job, 0}); crew != crews_.end() && crew->first.first == job; ++crew)
    held |= HeldByWaiting(crew->first);
  if (!held && (!Wants(job) || LiveWorkers() < std::uint64_t{config_.slots} + config_.extra_workers_max)) {
    // Or more workers could not be reached: the wishers' regions are all taken by workers that
    // wait.
    bool reachable = !Wants(job);
    for (const auto& [id, client] : clients_) {
      if (client.job != job || reachable) continue;
      for (const auto& [shape, wish] : client.wishes)
        if (wish.workers > 0) reachable |= client.out_used.size() < config_.pairs_max || UsablePairs(id, shape) > 0;
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
