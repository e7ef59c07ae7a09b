// The simulated cluster's pools and drivers.
#include "tests/scheduler/cluster_world.h"

namespace sheaf::cluster {

void World::StartPool(int i) {
  Pool& pool = pools_[i];
  if (pool.core && pool.life) KillPool(i);
  pool = {};
  pool.life = ++lives_;
  pool.slots = i < 4 ? static_cast<std::uint32_t>(i % 2) : 2 + static_cast<std::uint32_t>(random_.Below(3));
  LinkCore::Config config;
  config.pool.pool_id = "p" + std::to_string(i);
  config.pool.incarnation = pool.life;
  config.offer.cpus_milli = pool.slots * 1000;
  config.offer.address = pool.slots ? "h" + std::to_string(i) + ":1" : "";
  config.seed = random_.Next();
  config.bug_sequence_starts_over = bug_ == Bug::kSequenceStartsOver;
  pool.core = std::make_unique<LinkCore>(config);
  Tell(i);
}

void World::KillPool(int i) {
  Pool& pool = pools_[i];
  if (!pool.core) return;
  pool.core.reset();
  pool.life = ++lives_;
  for (const auto& [number, relay] : Copy(relays_)) {
    if (relay.near == i) NearDies(number);
    if (relay.far == i) FarDies(number);
  }
  for (int d = 0; d < static_cast<int>(drivers_.size()); ++d) {
    if (drivers_[d].pool != i || !drivers_[d].alive) continue;
    KillDriver(d);
    At(now_ + 3500 * kMs, [this, d] { StartDriver(d); });
  }
}

void World::Tell(int i) {
  Pool& pool = pools_[i];
  if (!pool.core || pool.stopped) return;
  scheduler::PoolLoad load;
  load.slots = pool.slots;
  scheduler::PoolReport report;
  report.own_milli = pool.own * 1000;
  for (const Driver& driver : drivers_) {
    if (!driver.alive || driver.pool != i) continue;
    const std::size_t left = driver.tasks.size() - driver.done;
    const auto failed = pool.failed_until.find(driver.job);
    if (left == 0 || (failed != pool.failed_until.end() && failed->second > now_)) continue;
    scheduler::LeaseWant want;
    want.job = driver.job;
    want.slots = static_cast<std::uint32_t>(std::min<std::size_t>(left, 12));
    report.wants.push_back(want);
  }
  for (const std::uint64_t number : pool.held) {
    const Relay& relay = relays_.at(number);
    if (relay.leaving) continue;
    if (relay.parked) {
      report.parked.push_back(relay.grant.id);
      continue;
    }
    report.held.push_back(relay.grant);
    if (relay.unconfirmed) report.begun.push_back(relay.grant.id);
  }
  Feed(i, LinkCore::LoadChanged{load, report});
}

void World::Wake(int i) {
  Pool& pool = pools_[i];
  if (!pool.core || pool.stopped) return;
  const Time due = pool.core->NextDeadline();
  if (due == scheduler::kNever) return;
  At(due, [this, i, life = pool.life] {
    Pool& still = pools_[i];
    if (still.life == life && still.core && !still.stopped && still.core->NextDeadline() <= now_)
      Feed(i, LinkCore::Tick{});
  });
}

void World::Feed(int i, const LinkCore::Event& event) {
  Pool& pool = pools_[i];
  if (!pool.core) return;
  if (pool.stopped) {  // it reads this when it goes on
    At(now_ + 200 * kMs, [this, i, life = pool.life, event] {
      if (pools_[i].life == life) Feed(i, event);
    });
    return;
  }
  std::visit(
      [&](const auto& e) {
        if constexpr (requires { e.call; }) pool.open.erase(e.call);
      },
      event);
  for (const LinkCore::Action& action : pool.core->OnEvent(event, now_)) {
    if (const auto* join = std::get_if<scheduler::RegisterArrived>(&action)) {
      Ask(i, join->token, *join);
    } else if (const auto* beat = std::get_if<scheduler::HeartbeatArrived>(&action)) {
      Ask(i, beat->token, *beat);
    } else if (std::holds_alternative<LinkCore::Fence>(action) && bug_ != Bug::kNeverFences) {
      for (const auto& [number, relay] : Copy(relays_))
        if (relay.far == i && relay.far_life == pool.life) FarDies(number);
      for (auto& [number, relay] : relays_)
        if (relay.near == i && bug_ != Bug::kCreditForEver) relay.credit = {};
    }
  }
  pool.epoch = pool.core->epoch();
  Wake(i);
}

void World::StartDriver(int d) {
  Driver& driver = drivers_[d];
  if (driver.alive) KillDriver(d);
  driver = {};
  driver.pool = d % 3;  // two of them on one pool: a report has several jobs
  driver.job = ++lives_;
  if (!pools_[driver.pool].core) {
    At(now_ + 500 * kMs, [this, d] { StartDriver(d); });
    return;
  }
  driver.alive = true;
  driver.tasks.assign(now_ < kWorkEnd - 20 * kSecond ? 20 + random_.Below(120) : 4, Task::kQueued);
  Tell(driver.pool);
}

void World::KillDriver(int d) {
  Driver& driver = drivers_[d];
  if (!driver.alive) return;
  driver.alive = false;
  for (const auto& [number, relay] : Copy(relays_))
    if (relay.driver == d) NearDies(number);
  Tell(driver.pool);
}

}  // namespace sheaf::cluster
