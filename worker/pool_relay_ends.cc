// How relays end: parked for a while, or in trouble. A job whose relays cannot stand is told so, where it has no other way.
#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "worker/pool_send.h"
#include "worker/relay/credit.h"
#include "worker/relay/relay_main.h"

namespace sheaf {

using wire::Kind;

// ---- parked: the grant goes back at once, the processes of both halves stay for a while -----------------------------

void PoolServer::ParkRelay(const Relay& relay, bool gently) {
  const PoolCore::Client* client = relay.client ? core_->Find(relay.client) : nullptr;
  Connection* to = client ? ConnectionOf(relay.client) : nullptr;
  if (to) Send(*to, Kind::kPark, 0, wire::Park{{}, gently ? 1u : 0u, 0});
}

bool PoolServer::Parked(Connection& connection, std::uint64_t bytes_there) {
  return OfNearHalf(connection, [&](Relay& relay) {
    relay.parked_since = now_;
    relay.credit_over = true;
    relay.bytes_there = bytes_there;
  });
}

bool PoolServer::Asks(Connection& connection) {
  return OfNearHalf(connection, [this](Relay& relay) {
    relay.asks = relay.parked_since != INT64_MAX;
    relay.beside = HeldBy(relay.grant.job);
  });
}

bool PoolServer::OfNearHalf(const Connection& connection, const std::function<void(Relay&)>& f) {
  const auto spawn = spawns_.find(connection.spawn);
  if (spawn == spawns_.end() || spawn->second.kind != Spawn::Kind::kNear) return false;
  const auto relay = relays_.find(spawn->second.grant);
  if (relay != relays_.end() && !relay->second.leaving) f(relay->second);
  return true;
}

bool PoolServer::Released(Connection& connection) {
  const auto spawn = spawns_.find(connection.spawn);
  if (spawn == spawns_.end() || spawn->second.kind != Spawn::Kind::kFar) return false;
  spawn->second.grant = 0;
  spawn->second.parked_since = now_;
  return true;
}

// The same job at the same pool goes on where it was.
bool PoolServer::RenewParked(const Neighbours::Granted& granted) {
  // First the one that has the same grant as a credit already, and may have begun it.
  auto found = std::find_if(relays_.begin(), relays_.end(), [&](const auto& at) {
    const Relay& relay = at.second;
    return relay.parked_since != INT64_MAX && !relay.leaving && relay.credit.id == granted.grant.id;
  });
  const bool credited = found != relays_.end();
  for (auto at = relays_.begin(); !credited && at != relays_.end(); ++at) {
    const Relay& relay = at->second;
    if (relay.parked_since == INT64_MAX || relay.leaving || relay.grant.job != granted.grant.job ||
        relay.grant.lender != granted.grant.lender || relay.grant.cpus_milli != granted.grant.cpus_milli ||
        relay.grant.lender_incarnation != granted.grant.lender_incarnation)
      continue;
    // One that asks has tasks, which nobody else may have room for.
    if (found == relays_.end() || (relay.asks && !found->second.asks)) found = at;
  }
  if (found == relays_.end()) return false;
  Connection* to = ConnectionOf(found->second.client);
  const bool wanted =
      found->second.asks || leases_->Elsewhere({JobOfNumber(granted.grant.job), ShapeOfNumber(granted.grant.job)}) > 0;
  if (!to || !(wanted || credited) || stopping_) return false;
  auto node = relays_.extract(found);
  node.key() = granted.grant.id;
  Relay& relay = node.mapped();
  relay.grant = granted.grant;
  relay.parked_since = INT64_MAX;
  relay.asks = false;
  spawns_.at(relay.spawn).grant = granted.grant.id;
  relays_.insert(std::move(node));
  Send(*to, Kind::kRenew, 0, wire::Bare{}, {}, granted.ticket);
  return true;
}

// To each parked near half the credit that it has now, anew with every word from the scheduler, or that it has none any more.
// nullptr: there was no word for too long.
void PoolServer::GiveCredits(const Neighbours::News* news) {
  for (auto& [id, relay] : relays_) {
    if (relay.parked_since == INT64_MAX || relay.leaving) continue;
    Connection* to = ConnectionOf(relay.client);
    if (!to) continue;
    const Neighbours::News::Credit* given = nullptr;
    for (std::size_t i = 0; news && i < news->credits.size(); ++i)
      if (news->credits[i].parked == id) given = &news->credits[i];
    if (given) {
      relay.credit = given->next.grant;
      relay.credit_over = false;
      Send(*to, Kind::kRenew, 0, wire::Bare{}, {},
           relay::CreditText({relay.credit.id, news->credits_until, given->next.ticket}));
    } else if (!std::exchange(relay.credit_over, true)) {
      Send(*to, Kind::kRenew, 0, wire::Bare{}, {}, relay::CreditText({}));
    }
  }
}

// The other pool has taken the credit. Whatever was decided here in the meantime: that is what runs there, and what is reported.
bool PoolServer::Begun(Connection& connection, std::uint64_t credit) {
  const auto spawn = spawns_.find(connection.spawn);
  if (spawn == spawns_.end() || spawn->second.kind != Spawn::Kind::kNear) return false;
  const auto found = relays_.find(spawn->second.grant);
  // Its own already: it was granted in the meantime.
  if (found == relays_.end() || found->second.leaving || found->first == credit) return true;
  if (found->second.credit.id != credit || relays_.contains(credit)) {
    LeaveRelay(found->second);
    return true;
  }
  auto node = relays_.extract(found);
  node.key() = credit;
  Relay& relay = node.mapped();
  relay.grant = relay.credit;
  relay.parked_since = INT64_MAX;
  relay.asks = false;
  relay.unconfirmed = true;
  spawn->second.grant = credit;
  relays_.insert(std::move(node));
  return true;
}

// By what runs here for others and what this machine's own jobs use.
bool PoolServer::HasRoomFor(const scheduler::GrantInfo& grant) const {
  std::uint64_t used = std::uint64_t{grant.slots} * grant.cpus_milli;
  for (const auto& [number, spawn] : spawns_)
    if (spawn.kind == Spawn::Kind::kFar && spawn.grant != 0) used += std::uint64_t{spawn.slots} * spawn.cpus_milli;
  for (const auto& [id, job] : jobs_)
    if (job.twin_of == 0) used += leases_->OccupiedMilli(id);
  return used <= std::uint64_t{slots_} * 1000;
}

// A level. What they had beside counts as it was: what is granted elsewhere meanwhile serves their tasks as well.
std::uint32_t PoolServer::AskedByParked(std::uint64_t number) const {
  std::uint32_t slots = 0, beside = 0;
  for (const auto& [id, relay] : relays_) {
    if (relay.grant.job != number || !relay.asks || relay.leaving) continue;
    slots += relay.grant.slots;
    beside = std::max(beside, relay.beside);
  }
  return slots == 0 ? 0 : beside + slots;
}

std::uint32_t PoolServer::HeldBy(std::uint64_t number) const {
  std::uint32_t slots = 0;
  for (const auto& [id, relay] : relays_)
    if (relay.grant.job == number && relay.parked_since == INT64_MAX && !relay.leaving) slots += relay.grant.slots;
  return slots;
}

// Of one shape of a job: those that it has not wanted for a while. Or that stand in the way of another shape, which has nothing: what
// the tasks here wait for may be one of those. A relay parks only while nothing is away, and asks again if tasks wait.
void PoolServer::ParkIdleRelays(std::uint64_t number, Job* job) {
  const lease::Shape shape = ShapeOfNumber(number);
  const bool wanted = !job->over && leases_->Elsewhere({JobOfNumber(number), shape}) > 0;
  bool others_want = false, others_have_none = false;
  for (lease::Shape other = 0; other < job->shapes.size(); ++other) {
    const std::uint64_t its = NumberOf(JobOfNumber(number), other);
    if (other == shape || (leases_->Elsewhere({JobOfNumber(number), other}) == 0 && AskedByParked(its) == 0)) continue;
    others_want = true;
    others_have_none |= HeldBy(its) == 0;
  }
  if ((wanted && !others_have_none) || HeldBy(number) == 0) {
    job->relays_idle_since.erase(shape);
    return ParkSurplusRelays(number, job);
  }
  const auto [since, fresh] = job->relays_idle_since.try_emplace(shape, now_);
  if (now_ - since->second < (others_want ? kRelayIdleInTheWay : kRelayIdle)) return;
  job->relays_idle_since.erase(since);
  for (auto& [grant, relay] : relays_) {
    if (relay.grant.job != number || relay.parked_since != INT64_MAX) continue;
    if (relay.client) {
      ParkRelay(relay, false);
    } else if (!wanted) {
      LeaveRelay(relay);
    }
  }
}

// What is held beyond what has been wanted for a second may serve other jobs. Whoever is busy just now stays, and others are asked the
// next time.
void PoolServer::ParkSurplusRelays(std::uint64_t number, Job* job) {
  const lease::Shape shape = ShapeOfNumber(number);
  const std::uint64_t wanted = leases_->Elsewhere({JobOfNumber(number), shape}), held = HeldBy(number);
  std::vector<Relay*> beyond;
  for (auto& [grant, relay] : relays_)
    if (relay.grant.job == number && relay.client && relay.parked_since == INT64_MAX && !relay.leaving &&
        held >= wanted + relay.grant.slots)
      beyond.push_back(&relay);
  if (wanted == 0 || beyond.empty() || AskedByParked(number) > 0) {
    job->relays_beyond_since.erase(shape);
    return;
  }
  const auto [since, fresh] = job->relays_beyond_since.try_emplace(shape, now_);
  if (now_ - since->second < kRelayIdle) return;
  job->relays_beyond_since.erase(since);
  std::uint64_t surplus = held - wanted;
  for (std::size_t i = 0; i < beyond.size(); ++i) {
    const Relay& relay = *beyond[(i + job->turn) % beyond.size()];
    if (relay.grant.slots > surplus) continue;
    surplus -= relay.grant.slots;
    ParkRelay(relay, true);
  }
  ++job->turn;
}

// ---- in trouble -------------------------------------------------------------------------------------------------

// Whether this machine can never run what that crew would.
bool PoolServer::MustGoElsewhere(lease::CrewKey crew) const {
  const auto view = leases_->crews().find(crew);
  return slots_ == 0 || (view != leases_->crews().end() && !view->second.fits);
}

void PoolServer::RelayEnded(const Spawn& spawn, bool was_ready, int status) {
  if (spawn.kind == Spawn::Kind::kFar) return;
  if (spawn.kind == Spawn::Kind::kTransfers) {
    transfer_spawn_ = 0;
    transfers_again_ = now_ + 1'000 * kMilli;
    return;
  }
  const auto relay = relays_.find(spawn.grant);
  const bool meant = relay == relays_.end() || relay->second.leaving;
  const lease::Shape shape = relay == relays_.end() ? 0 : ShapeOfNumber(relay->second.grant.job);
  const std::string lender = relay == relays_.end() ? "" : relay->second.grant.lender;
  if (relay != relays_.end()) relays_.erase(relay);
  const auto job = jobs_.find(spawn.job);
  if (job == jobs_.end() || meant) return;
  if (WIFEXITED(status) && WEXITSTATUS(status) == relay::kExitCannotTravel && !was_ready) {
    job->second.stays_here = true;
    for (lease::Shape each = 0; each < job->second.shapes.size(); ++each)
      if (MustGoElsewhere({job->first, each})) RefuseShape({job->first, each}, kCannotTravel);
    return;
  }
  // The other pool may be gone, and its grant with it; or it refuses this one. Not at once again.
  RelayTrouble& trouble = job->second.relay_trouble[shape];
  if (was_ready) trouble = {};
  if (trouble.failures == 0) trouble.since = now_;
  trouble.lender = lender;
  trouble.again = now_ + (50 * kMilli << std::min(trouble.failures, 6u));
  if (was_ready || (++trouble.failures, now_ - trouble.since < kRelayTroubleMax)) return;
  trouble = {};
  if (MustGoElsewhere({job->first, shape}))
    RefuseShape({job->first, shape},
                "for a minute no relay to another machine could be started for it; its error output says why");
}

// To the clients and to the lease core alike: it is wished for no more.
void PoolServer::RefuseShape(lease::CrewKey crew, const std::string& why) {
  std::vector<ClientId> wishers;
  for (const auto& [id, client] : leases_->clients())
    if (client.job == crew.first && client.wishes.contains(crew.second)) wishers.push_back(id);
  for (const ClientId id : wishers) {
    Tell(lease::Want{id, 0, 1000, 0, crew.second});
    if (Connection* to = ConnectionOf(id)) Refuse(*to, 0, wire::Refusal::kLimit, why, to->OwnNumberOf(crew.second));
  }
}

}  // namespace sheaf
