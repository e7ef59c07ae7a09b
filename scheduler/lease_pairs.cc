// The lease core's pairs: which submitter is connected with which worker or relay.
#include <algorithm>

#include "base/check.h"
#include "scheduler/lease_core.h"

namespace sheaf::lease {

std::uint32_t LeaseCore::PairsOf(Client worker) const {
  std::uint32_t pairs = 0;
  for (const auto& [key, pair] : pairs_) pairs += key.second == worker && pair.state == PairState::kOpen;
  return pairs;
}

// Workers of this machine, or places at relays.
std::uint32_t LeaseCore::UsablePairs(Client submitter, Shape shape, bool relays) const {
  std::uint32_t usable = 0;
  for (auto pair = pairs_.lower_bound({submitter, 0}); pair != pairs_.end() && pair->first.first == submitter; ++pair) {
    if (pair->second.state != PairState::kOpen) continue;
    const ClientView& worker = clients_.at(pair->first.second);
    if (worker.blocked || worker.stopping || worker.shape != shape) continue;
    if (relays) {
      usable += worker.places;
    } else if (worker.places == 0) {
      ++usable;
    }
  }
  return usable;
}

Client LeaseCore::PickWorkerFor(Client submitter, Shape shape, bool relay) const {
  const Client job = clients_.at(submitter).job;
  Client best = 0;
  std::uint32_t least = 0;
  for (const auto& [id, client] : clients_) {
    if (client.job != job || !client.worker || client.blocked || client.stopping || id == submitter) continue;
    if ((client.places > 0) != relay || client.shape != shape) continue;
    if (client.in_used.size() >= config_.pairs_max || pairs_.contains({submitter, id})) continue;
    const std::uint32_t load = PairsOf(id);
    if (best != 0 && load >= least) continue;
    best = id;
    least = load;
  }
  return best;
}

bool LeaseCore::Connect(Client submitter, Shape shape, bool relay) {
  const auto lowest_free = [](const std::set<std::uint32_t>& used) {
    std::uint32_t region = 0;
    for (const std::uint32_t taken : used) {
      if (taken != region) break;
      ++region;
    }
    return region;
  };
  ClientView& client = clients_.at(submitter);
  const Client worker_id = client.out_used.size() < config_.pairs_max ? PickWorkerFor(submitter, shape, relay) : 0;
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
    for (const auto& [shape, wish] : client.wishes) {
      std::uint32_t usable = wish.workers > 0 ? UsablePairs(id, shape) : 0;
      while (usable < wish.workers) {
        if (!Connect(id, shape, false)) {
          if (usable == 0 && config_.slots > 0) AskForARegion(id, shape);
          break;
        }
        ++usable;
      }
      while (wish.elsewhere > 0 && UsablePairs(id, shape, true) < wish.elsewhere && Connect(id, shape, true)) {
      }
    }
  }
}

// No pair can be had because all regions are taken: one is asked back from somebody who wants
// nothing now.
void LeaseCore::AskForARegion(Client submitter, Shape shape) {
  const Client job = clients_.at(submitter).job;
  for (const auto& [key, pair] : pairs_)
    if (pair.state == PairState::kClosing && clients_.at(key.first).job == job) return;  // one at a time
  for (auto& [key, pair] : pairs_) {
    if (pair.state != PairState::kOpen || key.first == submitter || key.second == submitter) continue;
    const ClientView& holder = clients_.at(key.first);
    const ClientView& worker = clients_.at(key.second);
    if (holder.job != job || worker.shape != shape || worker.blocked || worker.stopping) continue;
    if (const auto wish = holder.wishes.find(shape); wish != holder.wishes.end() && wish->second.workers > 0) continue;
    if (worker.in_used.size() < config_.pairs_max || pairs_.contains({submitter, key.second})) continue;
    pair.state = PairState::kClosing;
    actions_.push_back(ClosePair{key.first, key.second});
    return;
  }
}

}  // namespace sheaf::lease
