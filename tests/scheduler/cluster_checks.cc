// What must hold in the simulated cluster: at every step, after a while, and at the end.
#include "tests/scheduler/cluster_world.h"

namespace sheaf::cluster {

// What a lender runs for others by grants of one epoch: no more than it has, but for a while, until everybody has heard
// that a grant has ended.
bool World::IsOverlent(int i) const {
  std::uint32_t running = 0;
  for (const auto& [number, relay] : relays_)
    if (relay.far == i && relay.far_alive && relay.near_alive && !relay.released && relay.far_life == pools_[i].life)
      running += relay.grant.slots;
  return running > pools_[i].slots;
}
void World::CheckLender(int i) {
  if (!IsOverlent(i) || watched_.contains(i)) return;
  const std::uint64_t watch = watched_[i] = order_;
  for (int k = 1; k <= 14; ++k) {
    At(now_ + k * kSecond, [this, i, k, watch, life = pools_[i].life] {
      if (const auto at = watched_.find(i); at == watched_.end() || at->second != watch) return;
      const bool same = life == pools_[i].life && pools_[i].core && !pools_[i].stopped;
      if (!same || !IsOverlent(i)) return void(watched_.erase(i));
      if (k == 14 && now_ > kFaultsEnd + 14 * kSecond)
        Fault("p" + std::to_string(i) + " stays lent out beyond its slots");
      if (k == 14) watched_.erase(i);
    });
  }
}
// A pool that was declared lost has ended what it ran for others by then, unless it is stopped.
void World::Look() {
  for (const auto& [id, since] : scheduler_->gone) {
    const int i = id[1] - '0';
    if (now_ - since < 4 * kSecond || pools_[i].stopped) continue;
    for (const auto& [number, relay] : relays_)
      if (relay.far == i && relay.far_alive && relay.far_life == pools_[i].life)
        Fault(id + " is lost and still runs what others sent");
  }
  At(now_ + kSecond, [this] { Look(); });
}
// At the moment of a grant the lender had the room, as far as the scheduler knew.
void World::CheckGrants(Scheduler* who) {
  std::map<std::string, std::uint64_t> lent;
  std::set<std::string> fresh;
  for (int i = 0; i < kPools; ++i) {
    const std::string id = "p" + std::to_string(i);
    for (const GrantInfo& grant : who->core->placement().GrantsOf(id)) {
      lent[grant.lender] += grant.slots * 1000;
      if (grant.lender == id) Fault("a pool was granted its own slots");
      const scheduler::Node* lender = who->core->nodes().Find(grant.lender);
      if (!lender || lender->standing != scheduler::Standing::kAlive ||
          lender->identity.incarnation != grant.lender_incarnation)
        Fault("a grant on a pool that is gone");
      if (grant.id >> 40 != who->core->config().epoch || !who->seen.insert(grant.id).second) continue;
      fresh.insert(grant.lender);
    }
  }
  for (const std::string& lender : fresh) {
    const scheduler::Node* node = who->core->nodes().Find(lender);
    if (node && who->own[lender] + lent[lender] > node->load.slots * 1000)
      Fault("slots in use by their owner were lent");
  }
}
// What was granted before is shown as expected, between pools that may come back; nothing of this epoch is in the file.
void World::CheckRestart(const std::vector<scheduler::PoolIdentity>& known) {
  std::set<std::pair<std::string, std::uint64_t>> lives;
  for (const scheduler::PoolIdentity& pool : known) lives.emplace(pool.pool_id, pool.incarnation);
  std::size_t awaited = 0;
  for (const auto& [id, grant] : disk_grants_) {
    if (scheduler::EpochOf(id) >= epoch_) Fault("a grant in the file is not of an earlier epoch");
    awaited += lives.contains({grant.borrower, grant.borrower_incarnation}) &&
               lives.contains({grant.lender, grant.lender_incarnation});
  }
  const scheduler::ClusterView view = scheduler_->core->Show(now_, true);
  if (view.grants.size() != awaited) Fault("a restarted scheduler does not show what the file has");
  for (const scheduler::GrantRow& grant : view.grants)
    if (!grant.expected) Fault("a restarted scheduler takes a grant of before for its own");
  if (awaited > 0) Happen("restart with grants in force");
}
void World::CheckEnd() {
  for (int d = 0; d < kDrivers; ++d) {
    const Driver& driver = drivers_[d];
    if (!driver.alive) Fault("driver " + std::to_string(d) + " never came back");
    if (driver.done != driver.tasks.size())
      Fault("driver " + std::to_string(d) + " has " + std::to_string(driver.tasks.size() - driver.done) +
            " tasks that never ended");
  }
  std::uint64_t free = 0;
  for (const Pool& pool : pools_) free += (pool.slots - std::min(pool.own, pool.slots)) * 1000;
  const auto& placement = scheduler_->core->placement();
  if (placement.grants() != 0) Fault(std::to_string(placement.grants()) + " grants are left");
  if (placement.FreeMilli() != free) Fault("slots are missing at the end");
  if (!scheduler_->core->Show(now_, true).grants.empty()) Fault("grants are expected for ever");
  if (!disk_grants_.empty()) Fault(std::to_string(disk_grants_.size()) + " grants are left in the file");
  if (!relays_.empty()) Fault(std::to_string(relays_.size()) + " relays are left");
  for (int i = 0; i < kPools; ++i)
    if (!pools_[i].core || !pools_[i].core->member()) Fault("p" + std::to_string(i) + " is no member at the end");
}

}  // namespace sheaf::cluster
