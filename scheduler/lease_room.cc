// The lease core's room: what is stopped so that a crew below its share can have it.
#include <algorithm>

#include "base/check.h"
#include "scheduler/lease_core.h"

namespace sheaf::lease {

// A worker that the pool can do without: nothing of its own outstanding, few submitters, young.
Client LeaseCore::PickToStop(CrewKey crew) const {
  Client best = 0;
  std::pair<std::uint32_t, std::uint32_t> least;
  for (const auto& [id, client] : clients_) {
    if (!IsOf(client, crew)) continue;
    if (client.blocked || client.stopping) continue;
    std::uint32_t wanted = 0;
    for (const auto& [shape, wish] : client.wishes) wanted += wish.workers;
    const std::pair<std::uint32_t, std::uint32_t> cost{wanted, PairsOf(id)};
    if (best != 0 && cost > least) continue;
    best = id;
    least = cost;
  }
  return best;
}

// `while_waiting`: a worker inside Get occupies it, too.
void LeaseCore::MakeRoomOf(const Amount& amount, std::uint64_t capacity, bool while_waiting) {
  // What is missing, and what becomes free by itself because it is being stopped.
  std::uint64_t needed = 0, occupied = 0;
  for (const auto& [key, crew] : crews_) {
    const std::uint64_t kept = Kept(key), each = amount(key);
    occupied += (kept + (while_waiting ? Waiting(key) : 0)) * each;
    if (crew.target > kept) needed += (crew.target - kept) * each;
  }
  while (needed > 0 && occupied + needed > capacity) {
    // From the crew that has most above its share: first what is only being started, then a worker.
    CrewKey from{0, 0};
    std::uint64_t most = 0;
    for (const auto& [key, crew] : crews_) {
      const std::uint64_t kept = Kept(key), each = amount(key);
      if (kept <= crew.target || (kept - crew.target) * each <= most) continue;
      from = key;
      most = (kept - crew.target) * each;
    }
    if (from.first == 0) return;
    const auto spawn = std::find_if(spawns_.rbegin(), spawns_.rend(), [&](const auto& entry) {
      return CrewKey{entry.second.job, entry.second.shape} == from;
    });
    if (spawn != spawns_.rend()) {
      Cancel(std::prev(spawn.base()));
    } else {
      const Client worker = PickToStop(from);
      if (worker == 0) return;
      Stop(worker);
    }
    occupied -= amount(from);
  }
}

void LeaseCore::MakeRoom() {
  MakeRoomOf([this](CrewKey crew) { return std::uint64_t{Width(crew)}; }, CapacityMilli(), false);
  for (const auto& [id, job] : jobs_) {
    if (job.slots_max >= config_.slots) continue;
    const auto amount = [&id = id](CrewKey crew) { return crew.first == id ? std::uint64_t{1} : 0; };
    MakeRoomOf(amount, job.slots_max, false);
  }
  for (const auto& [name, capacity] : config_.has.resources) {
    const auto amount = [this, &name = name](CrewKey crew) {
      const auto& resources = crews_.at(crew).needs.resources;
      const auto found = resources.find(name);
      return found == resources.end() ? 0 : found->second;
    };
    MakeRoomOf(amount, capacity, true);
  }
}

}  // namespace sheaf::lease
