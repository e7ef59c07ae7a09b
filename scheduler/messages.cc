#include "scheduler/messages.h"

namespace sheaf::scheduler {
namespace {

v1::PoolStanding ToMessage(Standing standing) {
  switch (standing) {
    case Standing::kAlive:
      return v1::POOL_STANDING_ALIVE;
    case Standing::kExpected:
      return v1::POOL_STANDING_EXPECTED;
    case Standing::kLost:
      return v1::POOL_STANDING_LOST;
    case Standing::kLeft:
      return v1::POOL_STANDING_LEFT;
  }
  return v1::POOL_STANDING_UNSPECIFIED;
}

Standing FromMessage(v1::PoolStanding standing) {
  switch (standing) {
    case v1::POOL_STANDING_ALIVE:
      return Standing::kAlive;
    case v1::POOL_STANDING_EXPECTED:
      return Standing::kExpected;
    case v1::POOL_STANDING_LEFT:
      return Standing::kLeft;
    default:
      return Standing::kLost;
  }
}

}  // namespace

v1::PoolLoad ToMessage(const PoolLoad& load) {
  v1::PoolLoad message;
  message.set_slots(load.slots);
  message.set_slots_leased(load.slots_leased);
  message.set_workers_running(load.workers_running);
  message.set_workers_idle(load.workers_idle);
  message.set_clients(load.clients);
  message.set_segment_bytes(load.segment_bytes);
  message.set_budget_bytes(load.budget_bytes);
  message.set_tasks_executed(load.tasks_executed);
  message.set_workers_died(load.workers_died);
  return message;
}

PoolLoad FromMessage(const v1::PoolLoad& message) {
  PoolLoad load;
  load.slots = message.slots();
  load.slots_leased = message.slots_leased();
  load.workers_running = message.workers_running();
  load.workers_idle = message.workers_idle();
  load.clients = message.clients();
  load.segment_bytes = message.segment_bytes();
  load.budget_bytes = message.budget_bytes();
  load.tasks_executed = message.tasks_executed();
  load.workers_died = message.workers_died();
  return load;
}

v1::PoolIdentity ToMessage(const PoolIdentity& pool) {
  v1::PoolIdentity message;
  message.set_pool_id(pool.pool_id);
  message.set_incarnation(pool.incarnation);
  message.set_machine(pool.machine);
  message.set_address(pool.address);
  message.set_version(pool.version);
  message.set_pid(pool.pid);
  return message;
}

PoolIdentity FromMessage(const v1::PoolIdentity& message) {
  PoolIdentity pool;
  pool.pool_id = message.pool_id();
  pool.incarnation = message.incarnation();
  pool.machine = message.machine();
  pool.address = message.address();
  pool.version = message.version();
  pool.pid = message.pid();
  return pool;
}

v1::ClusterView ToMessage(const ClusterView& view) {
  v1::ClusterView message;
  message.set_cluster_id(view.cluster_id);
  message.set_epoch(view.epoch);
  message.set_pid(view.pid);
  message.set_address(view.address);
  message.set_version(view.version);
  message.set_uptime_ms(view.uptime_ms);
  message.set_trouble(view.trouble);
  for (const PoolRow& row : view.pools) {
    v1::PoolRow* out = message.add_pools();
    *out->mutable_pool() = ToMessage(row.pool);
    *out->mutable_load() = ToMessage(row.load);
    out->set_standing(ToMessage(row.standing));
    out->set_silent_ms(row.silent_ms);
  }
  return message;
}

ClusterView FromMessage(const v1::ClusterView& message) {
  ClusterView view;
  view.cluster_id = message.cluster_id();
  view.epoch = message.epoch();
  view.pid = message.pid();
  view.address = message.address();
  view.version = message.version();
  view.uptime_ms = message.uptime_ms();
  view.trouble = message.trouble();
  for (const v1::PoolRow& row : message.pools()) {
    view.pools.push_back(
        {FromMessage(row.pool()), FromMessage(row.load()), FromMessage(row.standing()), row.silent_ms()});
  }
  return view;
}

v1::Verdict ToMessage(Verdict verdict) {
  switch (verdict) {
    case Verdict::kOk:
      return v1::VERDICT_OK;
    case Verdict::kRegisterAgain:
      return v1::VERDICT_REGISTER_AGAIN;
    case Verdict::kSuperseded:
      return v1::VERDICT_SUPERSEDED;
    case Verdict::kRefused:
      return v1::VERDICT_REFUSED;
    case Verdict::kUnavailable:
      return v1::VERDICT_UNAVAILABLE;
  }
  return v1::VERDICT_UNSPECIFIED;
}

Verdict FromMessage(v1::Verdict verdict) {
  switch (verdict) {
    case v1::VERDICT_OK:
      return Verdict::kOk;
    case v1::VERDICT_REGISTER_AGAIN:
      return Verdict::kRegisterAgain;
    case v1::VERDICT_SUPERSEDED:
      return Verdict::kSuperseded;
    case v1::VERDICT_REFUSED:
      return Verdict::kRefused;
    default:
      return Verdict::kUnavailable;
  }
}

}  // namespace sheaf::scheduler
