// The simulated cluster's relays: begun by grants, admitted by tickets, ended by whatever happens to either half.
#include "tests/scheduler/cluster_world.h"

namespace sheaf::cluster {

void World::TakeGrants(int i, const std::vector<GrantInfo>& grants, const std::set<std::uint64_t>& reported) {
  Pool& pool = pools_[i];
  std::set<std::uint64_t> valid;
  for (const GrantInfo& grant : grants) {
    valid.insert(grant.id);
    const bool known = std::any_of(pool.held.begin(), pool.held.end(),
                                   [&](std::uint64_t number) { return relays_.at(number).grant.id == grant.id; });
    if (known || RenewParked(i, grant)) continue;
    for (int d = 0; d < kDrivers; ++d) {
      const Driver& driver = drivers_[d];
      if (!driver.alive || driver.pool != i || driver.job != grant.job || driver.done == driver.tasks.size()) continue;
      const std::uint64_t number = ++relay_numbers_;
      Relay relay;
      relay.number = number;
      relay.grant = grant;
      relay.near = i;
      relay.near_life = pool.life;
      relay.driver = d;
      relay.far = grant.lender[1] - '0';
      relays_[number] = relay;
      pool.held.insert(number);
      At(now_ + (2 + random_.Below(Faulty() && Chance(10) ? 1500 : 20)) * kMs, [this, number] { Admit(number); });
    }
  }
  for (const std::uint64_t number : std::set(pool.held)) {
    if (!relays_.contains(number) || relays_.at(number).leaving) continue;
    Relay& relay = relays_.at(number);
    if (relay.parked) continue;
    if (valid.contains(relay.grant.id)) {
      relay.unconfirmed = false;
      continue;
    }
    if (relay.unconfirmed && !reported.contains(relay.grant.id)) continue;  // the scheduler does not know yet
    if (relay.unconfirmed) Happen("credit begun in vain");
    if (relay.revoked) Fault("a grant that is over is used on");
    relay.revoked = true;
    if (bug_ != Bug::kIgnoresRevocation && !(bug_ == Bug::kKeepsUnconfirmed && relay.unconfirmed)) Leave(number);
  }
  Tell(i);
}

void World::Admit(std::uint64_t number) {
  const auto at = relays_.find(number);
  if (at == relays_.end() || !at->second.near_alive) return;
  Relay& relay = at->second;
  bool good = TakesTicket(relay.far, relay.grant);
  if (Faulty() && Chance(5)) good = false, Happen("relay refused");
  if (!good) {
    Pool& borrower = pools_[relay.near];
    borrower.failed_until[drivers_[relay.driver].job] = now_ + 100 * kMs;
    const int near = relay.near;
    NearDies(number);
    At(now_ + 101 * kMs, [this, near] { Tell(near); });
    return;
  }
  Serve(number);
}

bool World::TakesTicket(int i, const GrantInfo& grant) {
  Pool& lender = pools_[i];
  bool good = lender.core && !lender.stopped && lender.slots > 0 &&
              (!lender.core->fenced() || (bug_ == Bug::kAdmitsWhenFenced && lender.core->member()));
  if (good && !lender.used.insert(grant.id).second && bug_ != Bug::kTicketIsGoodTwice) good = false;
  if (good && grant.id >> 40 != lender.epoch && bug_ != Bug::kOldEpochAdmitted) good = false;
  if (good && grant.lender_incarnation != lender.life && bug_ != Bug::kOldLifeAdmitted) good = false;
  return good;
}

void World::Serve(std::uint64_t number) {
  Relay& relay = relays_.at(number);
  const Pool& lender = pools_[relay.far];
  const GrantInfo& grant = relay.grant;
  if (!admitted_.insert({relay.far, lender.life, grant.id}).second) Fault("a ticket was good twice");
  if (grant.lender_incarnation != lender.life) Fault("a ticket of an earlier life was good");
  if (grant.id >> 40 != lender.epoch) Fault("a ticket of an earlier epoch was good");
  relay.far_alive = relay.admitted = true;
  relay.released = false;
  relay.far_life = lender.life;
  // A replay by somebody who has seen it: refused, or found by the check above.
  if (Faulty() && Chance(5)) {
    Happen("ticket replayed");
    if (bug_ == Bug::kTicketIsGoodTwice) Fault("a ticket was good twice");
  }
  Push(number);
}

void World::Push(std::uint64_t number) {
  const auto at = relays_.find(number);
  if (at == relays_.end()) return;
  Relay& relay = at->second;
  Driver& driver = drivers_[relay.driver];
  if (!relay.near_alive || !relay.far_alive || relay.leaving || relay.parked || relay.released || !driver.alive) return;
  for (int t = 0; t < static_cast<int>(driver.tasks.size()) && relay.away.size() < relay.grant.slots; ++t) {
    if (driver.tasks[t] != Task::kQueued) continue;
    driver.tasks[t] = Task::kAway;
    relay.away.insert(t);
    const Time took = (5 + random_.Below(400)) * kMs;
    At(now_ + took, [this, number, t, job = driver.job, d = relay.driver] { Done(number, t, d, job); });
  }
  CheckLender(relay.far);
}

void World::Done(std::uint64_t number, int t, int d, std::uint64_t job) {
  Driver& driver = drivers_[d];
  if (!driver.alive || driver.job != job) return;
  const auto at = relays_.find(number);
  const bool stands = at != relays_.end() && at->second.near_alive && at->second.far_alive;
  if (stands && Faulty() && Chance(3)) {  // its worker died: run again there
    Happen("worker dies");
    At(now_ + 20 * kMs, [this, number, t, d, job] { Done(number, t, d, job); });
    return;
  }
  if (!stands && bug_ != Bug::kTakesFromTheDead) return;
  if (driver.tasks[t] == Task::kDone) return Fault("a result was delivered twice");
  if (stands) at->second.away.erase(t);
  driver.tasks[t] = Task::kDone;
  ++driver.done;
  ++out_.tasks;
  if (driver.done == driver.tasks.size()) {
    driver.idle_since = now_;
    At(now_ + kSecond, [this, d, job] { Idle(d, job); });
    Tell(driver.pool);
  } else if (stands) {
    Push(number);
  }
  if (stands && relays_.contains(number) && relays_.at(number).leaving && relays_.at(number).away.empty())
    NearDies(number);
}

void World::Idle(int d, std::uint64_t job) {
  if (drivers_[d].job != job || bug_ == Bug::kKeepsIdleGrants) return;
  if (drivers_[d].done < drivers_[d].tasks.size() || now_ - drivers_[d].idle_since < kSecond) return;
  for (const auto& [number, relay] : Copy(relays_)) {
    if (relay.driver != d || relay.parked) continue;
    const bool stands = relay.near_alive && relay.far_alive && !relay.leaving && relay.away.empty();
    stands&& Chance(80) ? Park(number) : Leave(number);
  }
  Tell(drivers_[d].pool);
  if (now_ < kWorkEnd - 20 * kSecond && Chance(70))
    At(now_ + random_.Below(4000) * kMs, [this, d, job] { Burst(d, job); });
}

void World::EndVoided(int i, const std::set<std::uint64_t>& voided) {
  if (!pools_[i].stopped) pools_[i].used.insert(voided.begin(), voided.end());
  for (const auto& [number, relay] : Copy(relays_))
    if (relay.far == i && relay.far_alive && relay.far_life == pools_[i].life && voided.contains(relay.grant.id))
      FarDies(number);
}

void World::Leave(std::uint64_t number) {
  Relay& relay = relays_.at(number);
  relay.leaving = true;
  if (relay.away.empty()) NearDies(number);
}

void World::End(std::uint64_t number, bool near) {
  const auto at = relays_.find(number);
  if (at == relays_.end()) return;
  Relay& relay = at->second;
  const bool first = relay.near_alive && (relay.far_alive || !relay.admitted);
  (near ? relay.near_alive : relay.far_alive) = false;
  if (near) {
    pools_[relay.near].held.erase(number);
    Driver& driver = drivers_[relay.driver];
    if (driver.alive && driver.job == relay.grant.job && bug_ != Bug::kForgetsOnRelayDeath) {
      for (const int t : relay.away) {
        if (driver.tasks[t] != Task::kAway) continue;
        driver.tasks[t] = Task::kQueued;
        ++out_.reruns;
      }
    }
    relay.away.clear();
  }
  if (!relay.near_alive && (!relay.far_alive || !relay.admitted)) {
    const int i = relay.near;
    relays_.erase(at);
    Tell(i);
    for (const auto& [other, one] : Copy(relays_))
      if (one.near == i) Push(other);
    return;
  }
  if (first) {
    At(now_ + (1 + random_.Below(Faulty() && Chance(20) ? 2000 : 5)) * kMs,
       [this, number, near] { End(number, !near); });
  }
  if (near) Tell(relay.near);
}

}  // namespace sheaf::cluster
