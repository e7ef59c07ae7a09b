#include "scheduler/messages.h"

#include <algorithm>

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

// Of offers, wants and rows alike.
template <class Message>
void PutNeeds(const Needs& needs, Message* message) {
  message->mutable_resources()->insert(needs.resources.begin(), needs.resources.end());
  for (const std::string& label : needs.labels) message->add_labels(label);
}
template <class Message>
Needs NeedsIn(const Message& message) {
  return {AmountsOf(message.resources()), {message.labels().begin(), message.labels().end()}};
}

v1::JobRow ToMessage(const JobRow& row) {
  v1::JobRow message;
  message.set_pool_id(row.pool);
  message.set_job(row.job);
  message.set_wants(row.want.slots);
  message.set_cpus_milli(row.want.cpus_milli);
  PutNeeds(row.want.needs, &message);
  message.set_holds(row.holds);
  message.set_waiting_ms(row.waiting_ms);
  message.set_expected(row.expected);
  return message;
}

JobRow FromMessage(const v1::JobRow& message) {
  JobRow row;
  row.pool = message.pool_id();
  row.job = row.want.job = message.job();
  row.want.slots = message.wants();
  row.want.cpus_milli = message.cpus_milli();
  row.want.needs = NeedsIn(message);
  row.holds = message.holds();
  row.waiting_ms = message.waiting_ms();
  row.expected = message.expected();
  return row;
}

v1::GrantRow ToMessage(const GrantRow& row) {
  v1::GrantRow message;
  message.set_id(row.id);
  message.set_borrower(row.borrower);
  message.set_borrower_incarnation(row.borrower_incarnation);
  message.set_job(row.job);
  message.set_lender(row.lender);
  message.set_lender_incarnation(row.lender_incarnation);
  message.set_slots(row.slots);
  message.set_cpus_milli(row.cpus_milli);
  message.set_age_ms(row.age_ms);
  message.set_expected(row.expected);
  return message;
}

GrantRow FromMessage(const v1::GrantRow& message) {
  GrantRow row;
  row.id = message.id();
  row.borrower = message.borrower();
  row.borrower_incarnation = message.borrower_incarnation();
  row.job = message.job();
  row.lender = message.lender();
  row.lender_incarnation = message.lender_incarnation();
  row.slots = message.slots();
  row.cpus_milli = message.cpus_milli();
  row.age_ms = message.age_ms();
  row.expected = message.expected();
  return row;
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

v1::PoolOffer ToMessage(const PoolOffer& offer) {
  v1::PoolOffer message;
  message.set_cpus_milli(offer.cpus_milli);
  PutNeeds(offer.has, &message);
  message.set_address(offer.address);
  return message;
}

// Bounded, so that no sum of them overflows.
Resources AmountsOf(const google::protobuf::Map<std::string, std::uint64_t>& message) {
  constexpr std::size_t kNamesMax = 64;
  Resources amounts;
  for (const auto& [name, amount] : message) amounts[name] = std::min<std::uint64_t>(amount, std::uint64_t{1} << 40);
  while (amounts.size() > kNamesMax) amounts.erase(std::prev(amounts.end()));
  return amounts;
}

PoolOffer FromMessage(const v1::PoolOffer& message) {
  PoolOffer offer;
  offer.cpus_milli = message.cpus_milli();
  offer.has = NeedsIn(message);
  offer.address = message.address();
  return offer;
}

v1::LeaseWant ToMessage(const LeaseWant& want) {
  v1::LeaseWant message;
  message.set_job(want.job);
  message.set_slots(want.slots);
  message.set_cpus_milli(want.cpus_milli);
  message.set_waiting_ms(want.waiting_ms);
  PutNeeds(want.needs, &message);
  for (const auto& [pool, bytes] : want.bytes) {
    v1::LeaseWant::Locality* there = message.add_bytes();
    there->set_pool_id(pool);
    there->set_bytes(bytes);
  }
  return message;
}

LeaseWant FromMessage(const v1::LeaseWant& message) {
  constexpr std::uint32_t kSlotsMax = 65'536, kMilliMax = 65'536'000;
  LeaseWant want;
  want.job = message.job();
  want.slots = std::min(message.slots(), kSlotsMax);
  want.cpus_milli = std::clamp(message.cpus_milli(), 1u, kMilliMax);
  want.waiting_ms = message.waiting_ms();
  want.needs = NeedsIn(message);
  for (const auto& there : message.bytes()) want.bytes.emplace_back(there.pool_id(), there.bytes());
  return want;
}

v1::Grant ToMessage(const GrantInfo& grant) {
  v1::Grant message;
  message.set_id(grant.id);
  message.set_job(grant.job);
  message.set_lender(grant.lender);
  message.set_lender_incarnation(grant.lender_incarnation);
  message.set_address(grant.address);
  message.set_slots(grant.slots);
  message.set_cpus_milli(grant.cpus_milli);
  for (const auto& [name, amount] : grant.resources) (*message.mutable_resources())[name] = amount;
  return message;
}

GrantInfo FromMessage(const v1::Grant& message) {
  GrantInfo grant;
  grant.id = message.id();
  grant.job = message.job();
  grant.lender = message.lender();
  grant.lender_incarnation = message.lender_incarnation();
  grant.address = message.address();
  grant.slots = std::min<std::uint32_t>(message.slots(), 65'536);
  grant.cpus_milli = std::min<std::uint32_t>(message.cpus_milli(), 65'536'000);
  grant.resources = AmountsOf(message.resources());
  return grant;
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
    if (!view.placement) continue;
    out->set_draining(row.draining);
    *out->mutable_offer() = ToMessage(row.offer);
    out->set_own_milli(row.own_milli);
    out->set_lent_milli(row.lent_milli);
    out->mutable_lent()->insert(row.lent.begin(), row.lent.end());
  }
  message.set_placement(view.placement);
  for (const JobRow& row : view.jobs) *message.add_jobs() = ToMessage(row);
  for (const GrantRow& row : view.grants) *message.add_grants() = ToMessage(row);
  message.set_left_out(view.left_out);
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
    PoolRow& out = view.pools.emplace_back();
    out.pool = FromMessage(row.pool());
    out.load = FromMessage(row.load());
    out.standing = FromMessage(row.standing());
    out.silent_ms = row.silent_ms();
    out.draining = row.draining();
    out.offer = FromMessage(row.offer());
    out.own_milli = row.own_milli();
    out.lent_milli = row.lent_milli();
    out.lent.insert(row.lent().begin(), row.lent().end());
  }
  view.placement = message.placement();
  for (const v1::JobRow& row : message.jobs()) view.jobs.push_back(FromMessage(row));
  for (const v1::GrantRow& row : message.grants()) view.grants.push_back(FromMessage(row));
  view.left_out = message.left_out();
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
