// The simulated cluster's parked relays: what is left of a grant that went back, and how it goes on by a credit or another grant.
#include "tests/scheduler/cluster_world.h"

namespace sheaf::cluster {

namespace {

constexpr Time kCreditLasts = LinkCore::FenceAfter(2 * kSecond), kParkedMax = 10 * kSecond;

}  // namespace

void World::Park(std::uint64_t number) {
  Relay& relay = relays_.at(number);
  Happen("relay parked");
  relay.parked = true;
  relay.parked_at = now_;
  relay.unconfirmed = relay.showing = false;
  relay.credit = {};
  At(now_ + (1 + random_.Below(5)) * kMs, [this, number, grant = relay.grant.id] {
    const auto at = relays_.find(number);
    if (at != relays_.end() && at->second.grant.id == grant && at->second.parked) at->second.released = true;
  });
  At(now_ + kParkedMax, [this, number, since = now_] {
    const auto at = relays_.find(number);
    if (at != relays_.end() && at->second.near_alive && at->second.parked && at->second.parked_at == since)
      Leave(number);
  });
}

void World::TakeCredits(int i, const std::vector<scheduler::CreditInfo>& credits, Time asked) {
  for (auto& [number, relay] : relays_) {
    if (relay.near != i || relay.near_life != pools_[i].life || !relay.parked || relay.showing) continue;
    relay.credit = {};
    for (const scheduler::CreditInfo& credit : credits)
      if (credit.parked == relay.grant.id) relay.credit = credit.grant;
    relay.credit_until = asked + kCreditLasts;
  }
}

// What a fresh grant finds parked goes on by it. If its ticket is refused, the relay ends.
bool World::RenewParked(int i, const GrantInfo& grant) {
  for (auto& [number, relay] : relays_) {
    if (relay.near != i || !relay.parked || relay.credit.id != grant.id || relay.leaving || !relay.near_alive) continue;
    Happen("credit granted");
    relay.grant = grant;
    relay.parked = false;
    if (!relay.showing)  // else it is begun already, or its ticket follows
      At(now_ + (1 + random_.Below(5)) * kMs, [this, number = number] { ShowTicket(number); });
    return true;
  }
  for (auto& [number, relay] : relays_) {
    const Driver& driver = drivers_[relay.driver];
    if (relay.near != i || !relay.parked || !relay.released || relay.leaving || relay.showing || !relay.near_alive ||
        relay.grant.lender != grant.lender || relay.grant.lender_incarnation != grant.lender_incarnation ||
        relay.grant.job != grant.job || !driver.alive || driver.done == driver.tasks.size())
      continue;
    Happen("parked relay renewed");
    relay.grant = grant;
    relay.parked = false;
    relay.credit = {};
    At(now_ + (1 + random_.Below(5)) * kMs, [this, number = number] { ShowTicket(number); });
    return true;
  }
  return false;
}

void World::ShowTicket(std::uint64_t number) {
  if (const auto at = relays_.find(number); at != relays_.end() && at->second.far_alive) Admit(number);
}

// A job that had paused has tasks again.
void World::Burst(int d, std::uint64_t job) {
  Driver& driver = drivers_[d];
  if (!driver.alive || driver.job != job || driver.done < driver.tasks.size()) return;
  driver.tasks.resize(driver.tasks.size() + 1 + random_.Below(12), Task::kQueued);
  GoOn(d);
  Tell(driver.pool);
  for (const auto& [number, relay] : Copy(relays_))
    if (relay.driver == d) Push(number);
}

// The near halves do so by themselves, whatever their pool does at the moment.
void World::GoOn(int d) {
  for (const auto& [number, relay] : Copy(relays_))
    if (relay.driver == d && relay.parked && relay.released && relay.near_alive && !relay.leaving) ShowCredit(number);
}

void World::ShowCredit(std::uint64_t number) {
  Relay& relay = relays_.at(number);
  if (relay.showing || relay.credit.id == 0 || (now_ >= relay.credit_until && bug_ != Bug::kCreditForEver)) return;
  const auto gone = scheduler_->gone.find("p" + std::to_string(relay.near));
  if (gone != scheduler_->gone.end() && pools_[relay.near].life == relay.near_life)
    Fault("a pool that was given up begins something by a credit");
  relay.showing = true;
  const bool late = Faulty() && Chance(8);
  At(now_ + (1 + random_.Below(late ? 2500 : 5)) * kMs,
     [this, number, credit = relay.credit.id] { AnswerCredit(number, credit); });
}

bool World::HasRoomFor(int lender, const GrantInfo& grant) const {
  std::uint32_t used = pools_[lender].own + grant.slots;
  for (const auto& [number, relay] : relays_)
    if (relay.far == lender && relay.far_alive && !relay.released && relay.far_life == pools_[lender].life)
      used += relay.grant.slots;
  return used <= pools_[lender].slots;
}

void World::AnswerCredit(std::uint64_t number, std::uint64_t credit) {
  const auto at = relays_.find(number);
  if (at == relays_.end() || !at->second.showing || !at->second.near_alive || !at->second.far_alive) return;
  Relay& relay = at->second;
  relay.showing = false;
  const int near = relay.near;
  if (relay.credit.id != credit || !HasRoomFor(relay.far, relay.credit) || !TakesTicket(relay.far, relay.credit)) {
    Happen("credit refused");  // it stays parked, and its pool asks
    relay.credit = {};
    if (!relay.parked) return Admit(number);  // or it was granted in the meantime
    Tell(near);
    return;
  }
  Happen("credit taken");
  relay.grant = relay.credit;
  relay.unconfirmed = relay.parked;
  relay.parked = false;
  if (now_ > kFaultsEnd + 8 * kSecond) {
    At(now_ + 3 * kSecond, [this, number, credit] {
      const auto still = relays_.find(number);
      if (still != relays_.end() && still->second.grant.id == credit && still->second.unconfirmed &&
          !still->second.leaving && still->second.near_alive)
        Fault("what was begun by a credit goes on without the scheduler's word");
    });
  }
  Serve(number);
  if (relays_.contains(number)) Tell(near);
}

}  // namespace sheaf::cluster
