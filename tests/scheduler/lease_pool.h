// A lease core with a shell that does what it is told, for its tests.
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "scheduler/lease_core.h"

namespace sheaf::lease {

inline constexpr Time kSecond = 1'000'000'000;

// The core with a shell that does what it is told at once, where a test does not want otherwise.
class Pool {
 public:
  explicit Pool(std::uint32_t slots, LeaseCore::Config config = {}) : core_(With(slots, config)) {}

  Client StartJob() {
    Tell(JobStarted{next_client_});
    return next_client_++;
  }
  // Every process that is being started becomes ready.
  std::vector<Client> Ready() {
    std::vector<Client> ready;
    while (!spawns_.empty()) {
      const Spawn spawn = spawns_.front();
      spawns_.erase(spawns_.begin());
      ready.push_back(next_client_);
      Tell(WorkerReady{spawn, next_client_++});
    }
    return ready;
  }
  void FailSpawn() {
    const Spawn spawn = spawns_.front();
    spawns_.erase(spawns_.begin());
    Tell(SpawnFailed{spawn, 2});
  }
  void Tell(const Event& event) {
    for (const Action& action : core_.OnEvent(event, now)) {
      if (const auto* spawn = std::get_if<SpawnWorker>(&action)) spawns_.push_back(spawn->spawn);
      if (const auto* cancel = std::get_if<CancelSpawn>(&action)) std::erase(spawns_, cancel->spawn);
      if (const auto* stop = std::get_if<StopWorker>(&action)) stopped.push_back(stop->worker);
      if (const auto* refuse = std::get_if<Refuse>(&action)) refused.push_back(*refuse);
      log.push_back(Describe(action));
    }
  }
  // Lets time pass, with a Tick at every deadline.
  void Pass(Time time) {
    const Time end = now + time;
    while (core_.NextDeadline() <= end) {
      now = std::max(now, core_.NextDeadline());
      Tell(Tick{});
    }
    now = end;
  }
  std::vector<Client> WorkersOf(Client submitter) const {
    std::vector<Client> workers;
    for (const auto& [key, pair] : core_.pairs())
      if (key.first == submitter && pair.state == PairState::kOpen) workers.push_back(key.second);
    return workers;
  }
  void Die(Client client) {
    Tell(ClientDied{client, 9});
    for (const auto& [id, view] : std::map(core_.clients())) Tell(PeerForgotten{id, client});
  }
  const std::vector<Spawn>& spawns() const { return spawns_; }
  const LeaseCore& core() const { return core_; }

  Time now = kSecond;
  std::vector<Client> stopped;
  std::vector<Refuse> refused;
  std::vector<std::string> log;

 private:
  static LeaseCore::Config With(std::uint32_t slots, LeaseCore::Config config) {
    config.slots = slots;
    if (config.pairs_max == LeaseCore::Config{}.pairs_max) config.pairs_max = slots + 6;
    return config;
  }
  LeaseCore core_;
  Client next_client_ = 1;
  std::vector<Spawn> spawns_;
};

}  // namespace sheaf::lease
