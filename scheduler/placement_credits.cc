// Credits: grants in advance, for borrowers that keep what stands for a grant when they return it.
#include <algorithm>
#include <utility>
#include <vector>

#include "scheduler/placement_core.h"

namespace sheaf::scheduler {

bool PlacementCore::HasRoom(const GrantInfo& grant, const Pool& lender) const {
  return limits_.bug_credit_needs_no_room || Free(lender) >= std::uint64_t{grant.slots} * grant.cpus_milli;
}

// A level, as all of a report: a credit lasts as long as each report names what it follows. `parked`: what the report returns, of
// what it says could go on.
void PlacementCore::GiveCredits(Place borrower, const PoolReport& report, const std::vector<GrantInfo>& parked,
                                Time now) {
  const std::set<std::uint64_t> kept(report.parked.begin(), report.parked.end());
  for (const GrantInfo& held : report.held)
    if (const auto at = credits_.find(held.id); at != credits_.end() && at->second.borrower == borrower)
      BeginCredit(held.id, now);
  for (const std::uint64_t id : std::vector(pools_[borrower].credits))
    if (!kept.contains(credits_.at(id).info.parked)) EndCredit(id);
  for (const GrantInfo& returned : parked) {
    // What needs custom resources asks: its ticket does not name them, so that the lender could not look for room.
    if (!returned.resources.empty() || pools_[borrower].credits.size() >= limits_.grants_per_pool) continue;
    const auto lender = places_.find(returned.lender);
    if (lender == places_.end()) continue;
    Credit credit{{returned.id, returned}, borrower, lender->second};
    const std::uint64_t id = credit.info.grant.id = next_grant_++;
    credits_.emplace(id, std::move(credit));
    pools_[borrower].credits.push_back(id);
  }
}

// It is in use over there already. If the slots were granted to somebody else in the meantime, it is over: the answer does not name it.
void PlacementCore::BeginCredit(std::uint64_t id, Time now) {
  const Credit credit = credits_.at(id);
  EndCredit(id);
  const GrantInfo& info = credit.info.grant;
  if (!HasRoom(info, pools_[credit.lender]) || pools_[credit.borrower].borrowed.size() >= limits_.grants_per_pool)
    return;
  JobOf(credit.borrower, info.job).want.cpus_milli = info.cpus_milli;
  granted_ += info.slots;
  Enter({info, credit.borrower, credit.lender, now});
}

// What a job asks for where it has credits is the same grant, whether it comes by an answer or is begun meanwhile. The slots given.
std::uint32_t PlacementCore::BeginCredits(const JobKey& key, Place lender, std::uint32_t most, Time now) {
  std::uint32_t given = 0;
  for (const std::uint64_t id : std::vector(pools_[key.first].credits)) {
    const Credit& credit = credits_.at(id);
    const GrantInfo& info = credit.info.grant;
    if (credit.lender != lender || info.job != key.second) continue;
    if (info.slots <= most - given && info.cpus_milli == jobs_.at(key).want.cpus_milli) {
      given += info.slots;
      BeginCredit(id, now);
    } else {
      EndCredit(id);  // another grant takes its place
    }
  }
  if (given > 0) Wait(key, now);
  return given;
}

void PlacementCore::EndCredit(std::uint64_t id) {
  const auto found = credits_.find(id);
  std::erase(pools_[found->second.borrower].credits, id);
  credits_.erase(found);
}

// The pool is gone. Its own may be shown to lenders yet, which are told to refuse them.
void PlacementCore::EndCreditsOf(Place place) {
  for (auto at = credits_.begin(); at != credits_.end();) {
    const auto& [id, credit] = *at++;
    if (credit.borrower == place) Void(credit.lender, id);
    if (credit.borrower == place || credit.lender == place) EndCredit(id);
  }
}

void PlacementCore::Void(Place lender, std::uint64_t grant) {
  constexpr std::size_t kVoidedMax = 256;
  auto& voided = pools_[lender].voided;
  if (voided.size() >= kVoidedMax) voided.erase(voided.begin());
  voided.push_back(grant);
}

std::vector<CreditInfo> PlacementCore::CreditsOf(const std::string& id) const {
  std::vector<CreditInfo> credits;
  const Pool* pool = Find(id);
  if (!pool) return credits;
  for (const std::uint64_t credit : pool->credits) {
    const Credit& one = credits_.at(credit);
    if (HasRoom(one.info.grant, pools_[one.lender])) credits.push_back(one.info);
  }
  return credits;
}

}  // namespace sheaf::scheduler
