#include "scheduler/placement_core.h"

#include <algorithm>

#include "base/check.h"

namespace sheaf::scheduler {
namespace {

std::uint64_t AmountOf(const Resources& all, const std::string& name) {
  const auto found = all.find(name);
  return found == all.end() ? 0 : found->second;
}

void Remove(std::vector<std::uint64_t>* from, std::uint64_t what) {
  const auto found = std::find(from->rbegin(), from->rend(), what);
  if (found != from->rend()) from->erase(std::next(found).base());
}

}  // namespace

bool CouldFit(const PoolOffer& offer, const LeaseWant& want) {
  return offer.cpus_milli >= want.cpus_milli && !offer.address.empty() && Satisfies(offer.has, want.needs);
}

PlacementCore::Pool* PlacementCore::Find(const std::string& pool) {
  const auto found = places_.find(pool);
  return found == places_.end() ? nullptr : &pools_[found->second];
}

const PlacementCore::Pool* PlacementCore::Find(const std::string& pool) const {
  const auto found = places_.find(pool);
  return found == places_.end() ? nullptr : &pools_[found->second];
}

std::uint64_t PlacementCore::Free(const Pool& pool) const {
  const std::uint64_t used = (limits_.bug_own_slots_forgotten ? 0 : pool.own_milli) + pool.lent_milli;
  return pool.up && !pool.offer.address.empty() && used < pool.offer.cpus_milli ? pool.offer.cpus_milli - used : 0;
}

// ---- pools by what is free --------------------------------------------------------------------------------------

void PlacementCore::Unlink(Place place) {
  Pool& pool = pools_[place];
  if (pool.bucket == 0) return;
  (pool.previous == kNowhere ? heads_[pool.bucket] : pools_[pool.previous].next) = pool.next;
  if (pool.next != kNowhere) pools_[pool.next].previous = pool.previous;
  pool.next = pool.previous = kNowhere;
  pool.bucket = 0;
}

// Bucket 0 is none: a pool with less than a CPU free is no candidate.
void PlacementCore::Index(Place place) {
  Pool& pool = pools_[place];
  const std::size_t bucket = std::min<std::uint64_t>(Free(pool) / 1000, kBuckets - 1);
  if (bucket == pool.bucket) return;
  Unlink(place);
  if (bucket == 0) return;
  pool.bucket = bucket;
  pool.next = heads_[bucket];
  if (pool.next != kNowhere) pools_[pool.next].previous = place;
  heads_[bucket] = place;
  highest_ = std::max(highest_, bucket);
}

std::uint32_t PlacementCore::SlotsFor(const Pool& pool, const LeaseWant& want, std::uint32_t most) const {
  if (!pool.up || !CouldFit(pool.offer, want)) return 0;
  std::uint64_t slots = std::min<std::uint64_t>(most, Free(pool) / std::max<std::uint32_t>(want.cpus_milli, 1));
  for (const auto& [name, amount] : want.needs.resources) {
    if (amount == 0) continue;
    const std::uint64_t used = AmountOf(pool.lent, name) + AmountOf(pool.own, name),
                        has = AmountOf(pool.offer.has.resources, name);
    slots = std::min(slots, used < has ? (has - used) / amount : 0);
  }
  return static_cast<std::uint32_t>(slots);
}

// ---- events -----------------------------------------------------------------------------------------------------

PlacementCore::Place PlacementCore::AddPlace(const std::string& id) {
  const auto [found, added] = places_.try_emplace(id, 0);
  if (!added) return found->second;
  if (free_places_.empty()) {
    found->second = static_cast<Place>(pools_.size());
    pools_.emplace_back();
  } else {
    found->second = free_places_.back();
    free_places_.pop_back();
  }
  pools_[found->second].id = id;
  return found->second;
}

void PlacementCore::PoolUp(const std::string& id, std::uint64_t incarnation, const PoolOffer& offer, Time now) {
  now_ = now;
  if (const Pool* known = Find(id); known && known->up && known->incarnation == incarnation && known->offer == offer)
    return;
  UnexpectOthers(id, incarnation);
  Drop(id, now);  // what an earlier life lent or borrowed is over
  const Place place = AddPlace(id);
  Pool& pool = pools_[place];
  pool.incarnation = incarnation;
  pool.offer = offer;
  pool.up = true;
  Index(place);
  Serve(now);
}

void PlacementCore::PoolDown(const std::string& id, Time now) {
  UnexpectOthers(id, 0);
  Drop(id, now);
}

void PlacementCore::Drop(const std::string& id, Time now) {
  now_ = now;
  const auto found = places_.find(id);
  if (found == places_.end()) return;
  const Place place = found->second;
  pools_[place].up = false;
  Unlink(place);
  EndCreditsOf(place);
  if (!limits_.bug_lender_death_keeps_grant)
    for (const std::uint64_t grant : std::vector(pools_[place].lends)) End(grant);
  for (const std::uint64_t grant : std::vector(pools_[place].borrowed)) {
    Void(grants_.at(grant).lender, grant);
    End(grant);
  }
  for (const std::uint64_t job : pools_[place].jobs) {
    const JobKey key{place, job};
    if (const auto claim = claims_.find(key); claim != claims_.end()) {
      waiting_.erase(claim->second);
      claims_.erase(claim);
    }
    jobs_.erase(key);
  }
  pools_[place].jobs.clear();
  if (limits_.bug_lender_death_keeps_grant && !pools_[place].lends.empty()) return;
  pools_[place] = Pool{};
  places_.erase(found);
  free_places_.push_back(place);
  Serve(now);
}

void PlacementCore::Report(const std::string& id, const PoolReport& report, Time now) {
  now_ = now;
  const auto found = places_.find(id);
  if (found == places_.end() || !pools_[found->second].up) return;
  const Place place = found->second;
  std::set<std::uint64_t> held;
  for (const GrantInfo& grant : report.held) {
    held.insert(grant.id);
    const bool begun = std::find(report.begun.begin(), report.begun.end(), grant.id) != report.begun.end();
    if (!grants_.contains(grant.id)) Adopt(place, grant, begun);
  }
  std::vector<GrantInfo> parked;
  for (const std::uint64_t id : report.parked)
    if (const auto grant = grants_.find(id);
        grant != grants_.end() && grant->second.borrower == place && !held.contains(id))
      parked.push_back(grant->second.info);
  if (const auto at = expected_at_.find(id); at != expected_at_.end()) {
    for (const std::uint64_t grant : std::vector(at->second.begin(), at->second.end()))
      if (expected_.at(grant).borrower == id) Unexpect(grant);  // it is held, and counted, or was returned
  }
  if (!limits_.bug_lost_answer_keeps_slots) {
    for (const std::uint64_t grant : std::vector(pools_[place].borrowed))
      if (!held.contains(grant)) End(grant);
  }
  pools_[place].own_milli = report.own_milli;
  pools_[place].own = report.own;
  Index(place);
  GiveCredits(place, report, parked, now);
  std::vector<std::uint64_t> jobs;
  for (const LeaseWant& want : report.wants) {
    if (jobs.size() >= limits_.wants_per_pool) break;
    jobs.push_back(want.job);
    jobs_[{place, want.job}].want = want;
  }
  std::sort(jobs.begin(), jobs.end());
  jobs.erase(std::unique(jobs.begin(), jobs.end()), jobs.end());
  std::vector<std::uint64_t> kept;  // they want nothing more, and have grants
  for (const std::uint64_t job : pools_[place].jobs) {
    const JobKey key{place, job};
    if (std::binary_search(jobs.begin(), jobs.end(), job)) continue;
    const auto at = jobs_.find(key);
    if (at == jobs_.end()) continue;
    at->second.want.slots = 0;
    Wait(key, now);
    if (at->second.grants.empty()) {
      jobs_.erase(at);
    } else {
      kept.push_back(job);
    }
  }
  jobs.insert(jobs.end(), kept.begin(), kept.end());
  std::sort(jobs.begin(), jobs.end());
  pools_[place].jobs = std::move(jobs);
  for (const std::uint64_t job : pools_[place].jobs) Wait({place, job}, now);
  Serve(now);
  LookWhere(place, now);
}

// Which of the pool's jobs want what is nowhere.
void PlacementCore::LookWhere(Place place, Time now) {
  for (const std::uint64_t number : pools_[place].jobs) {
    Job& job = jobs_.at({place, number});
    const bool somewhere = job.want.slots == 0 || job.has > 0 ||
                           std::any_of(pools_.begin(), pools_.end(),
                                       [&](const Pool& pool) { return pool.up && CouldFit(pool.offer, job.want); });
    job.nowhere_since = somewhere ? kNever : std::min(job.nowhere_since, now);
  }
}

void PlacementCore::Tick(Time now) {
  now_ = now;
  Serve(now);
}

Time PlacementCore::NextDeadline() const {
  Time next = kNever;
  for (const auto& [rank, key] : waiting_) {
    if (rank.first > 0) break;
    next = std::min(next, std::max(rank.second, last_taken_) + limits_.revoke_after);
  }
  return next;
}

// ---- grants -----------------------------------------------------------------------------------------------------

void PlacementCore::Wait(const JobKey& key, Time now) {
  Job& job = jobs_.at(key);
  const auto claim = claims_.find(key);
  if (job.has >= job.want.slots) {
    if (claim != claims_.end()) {
      waiting_.erase(claim->second);
      claims_.erase(claim);
    }
    return;
  }
  if (claim == claims_.end()) {
    job.since = now - static_cast<Time>(std::min<std::uint64_t>(job.want.waiting_ms, 3'600'000)) * 1'000'000;
  } else {
    waiting_.erase(claim->second);
  }
  const Claim fresh{{limits_.bug_no_fairness ? 0 : job.has, job.since}, key};
  claims_[key] = fresh;
  waiting_.insert(fresh);
}

void PlacementCore::Make(const JobKey& key, Place lender, std::uint32_t slots, Time now) {
  const LeaseWant& want = jobs_.at(key).want;
  const Pool& pool = pools_[lender];
  Grant grant;
  grant.info = {next_grant_++,      key.second, pool.id,         pool.incarnation,
                pool.offer.address, slots,      want.cpus_milli, want.needs.resources};
  grant.borrower = key.first;
  grant.lender = lender;
  grant.since = now;
  granted_ += slots;
  Enter(std::move(grant));
  Wait(key, now);
}

// Of a job that is known. It counts from now on.
void PlacementCore::Enter(Grant grant) {
  const GrantInfo& info = grant.info;
  Pool& pool = pools_[grant.lender];
  if (!limits_.bug_old_epoch_is_free || EpochOf(info.id) == EpochOf(next_grant_))
    pool.lent_milli += std::uint64_t{info.slots} * info.cpus_milli;
  for (const auto& [name, amount] : info.resources) pool.lent[name] += amount * info.slots;
  pool.lends.push_back(info.id);
  pools_[grant.borrower].borrowed.push_back(info.id);
  Job& job = jobs_.at({grant.borrower, info.job});
  job.has += info.slots;
  job.grants.insert(info.id);
  changed_.push_back(info.id);
  const Place lender = grant.lender;
  grants_.emplace(info.id, std::move(grant));
  Index(lender);
}

// Of which perhaps nothing was known.
PlacementCore::Job& PlacementCore::JobOf(Place borrower, std::uint64_t number) {
  Job& job = jobs_[{borrower, number}];
  job.want.job = number;
  auto& jobs = pools_[borrower].jobs;
  if (const auto at = std::lower_bound(jobs.begin(), jobs.end(), number); at == jobs.end() || *at != number)
    jobs.insert(at, number);
  return job;
}

// Granted by an earlier life of this scheduler, and still in use: it counts, and it may be kept. What was only begun by a credit of
// that life may be kept where there is room.
void PlacementCore::Adopt(Place borrower, const GrantInfo& held, bool begun) {
  const auto found = places_.find(held.lender);
  if (held.id == 0 || held.id >= next_grant_ || held.slots == 0 || found == places_.end() ||
      pools_[borrower].borrowed.size() >= limits_.grants_per_pool)
    return;
  const Pool& pool = pools_[found->second];
  if (!pool.up || pool.incarnation != held.lender_incarnation) return;
  if (EpochOf(held.id) == EpochOf(next_grant_)) return;  // of this life, and ended: void
  if (begun && !HasRoom(held, pool)) return;
  Grant grant;
  grant.info = held;
  grant.info.address = pool.offer.address;
  grant.borrower = borrower;
  grant.lender = found->second;
  const auto expected = expected_.find(held.id);
  grant.since = expected == expected_.end() ? now_ : expected->second.since;
  JobOf(borrower, held.job);
  Enter(std::move(grant));
}

void PlacementCore::End(std::uint64_t id) {
  const auto found = grants_.find(id);
  if (found == grants_.end()) return;
  const Grant grant = std::move(found->second);
  grants_.erase(found);
  changed_.push_back(id);
  Pool& lender = pools_[grant.lender];
  const bool counted = !limits_.bug_old_epoch_is_free || id >> 40 == next_grant_ >> 40;
  if (counted) lender.lent_milli -= std::uint64_t{grant.info.slots} * grant.info.cpus_milli;
  for (const auto& [name, amount] : grant.info.resources) lender.lent[name] -= amount * grant.info.slots;
  Remove(&lender.lends, id);
  Remove(&pools_[grant.borrower].borrowed, id);
  const JobKey key{grant.borrower, grant.info.job};
  if (const auto at = jobs_.find(key); at != jobs_.end()) {
    at->second.has -= grant.info.slots;
    at->second.grants.erase(id);
    Wait(key, now_);
  }
  Index(grant.lender);
}

// Where the bytes are first, then where most is free; nothing if nothing fits now.
void PlacementCore::GrantTo(const JobKey& key, std::uint32_t most, Time now) {
  const LeaseWant& want = jobs_.at(key).want;
  std::uint32_t given = 0;
  const auto take = [&](Place place) {
    if (place == key.first && !limits_.bug_lends_to_itself) return;
    if (pools_[key.first].borrowed.size() >= limits_.grants_per_pool) return;
    const std::uint32_t slots = SlotsFor(pools_[place], want, most - given);
    if (slots == 0) return;
    const std::uint32_t begun = BeginCredits(key, place, slots, now);
    if (slots > begun) Make(key, place, slots - begun, now);
    given += slots;
  };
  if (!want.bytes.empty()) {
    auto bytes = want.bytes;
    std::sort(bytes.begin(), bytes.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
    for (const auto& [pool, amount] : bytes) {
      if (given == most) break;
      if (const auto place = places_.find(pool); place != places_.end()) take(place->second);
    }
  }
  const std::size_t least = std::max<std::size_t>(1, std::min<std::size_t>(want.cpus_milli / 1000, kBuckets - 1));
  while (highest_ > 0 && heads_[highest_] == kNowhere) --highest_;
  for (std::size_t bucket = highest_; bucket >= least && given < most; --bucket) {
    for (Place place = heads_[bucket]; place != kNowhere && given < most;) {
      const Place next = pools_[place].next;  // taking moves it to another bucket
      take(place);
      place = next;
    }
  }
}

void PlacementCore::Serve(Time now) {
  if (waiting_.empty()) return;
  // Who has least first. Whoever was served comes again, further back; who was not fits nowhere, as less is free since.
  for (auto claim = waiting_.begin(); claim != waiting_.end();) {
    while (highest_ > 0 && heads_[highest_] == kNowhere) --highest_;
    if (highest_ == 0) break;
    const Claim tried = *claim;
    const JobKey key = tried.second;
    const Job& job = jobs_.at(key);
    // Alone it gets all that it wants; among others as much as the next one has, and a share of the rest.
    std::uint32_t most = job.want.slots - job.has;
    if (waiting_.size() > 1 && !limits_.bug_no_fairness) {
      const auto other = std::next(claim);
      const std::uint32_t level = other == waiting_.end() ? job.has : other->first.first;
      const std::uint32_t share = static_cast<std::uint32_t>(highest_ / waiting_.size());
      most = std::min(most, std::max({1u, level > job.has ? level - job.has : 0, share}));
    }
    GrantTo(key, most, now);
    claim = waiting_.upper_bound(tried);
  }
  TakeBack(now);
}

// A job that has nothing, and has waited: from the richest the grant that it got last, if it keeps more than one slot.
// Whether one slot fits once `grant`, which is on that pool, is over.
bool PlacementCore::FitsWithout(const Pool& pool, const LeaseWant& want, const GrantInfo& grant) const {
  if (!pool.up || !CouldFit(pool.offer, want)) return false;
  if (Free(pool) + std::uint64_t{grant.slots} * grant.cpus_milli < want.cpus_milli) return false;
  return std::all_of(want.needs.resources.begin(), want.needs.resources.end(), [&](const auto& need) {
    const std::uint64_t used = AmountOf(pool.lent, need.first) + AmountOf(pool.own, need.first);
    const std::uint64_t after = used - std::min(used, AmountOf(grant.resources, need.first) * grant.slots);
    return after + need.second <= AmountOf(pool.offer.has.resources, need.first);
  });
}

void PlacementCore::TakeBack(Time now) {
  if (waiting_.empty() || limits_.bug_no_fairness) return;
  const Claim& first = *waiting_.begin();
  if (first.first.first > 0 || now - std::max(first.first.second, last_taken_) < limits_.revoke_after) return;
  last_taken_ = now;  // whether or not there is something: not at once again
  // Of those that have nothing, the first that can be helped: what some want may be nowhere.
  constexpr int kLooks = 16;
  int looks = 0;
  for (const Claim& claim : waiting_) {
    const JobKey key = claim.second;
    if (++looks > kLooks || claim.first.first > 0 || now - claim.first.second < limits_.revoke_after) return;
    const LeaseWant& want = jobs_.at(key).want;
    const Job* richest = nullptr;
    for (const auto& [other, job] : jobs_) {
      if (job.has < 2 || other == key) continue;
      if (!richest || job.has > richest->has) richest = &job;
    }
    if (!richest) return;
    for (auto grant = richest->grants.rbegin(); grant != richest->grants.rend(); ++grant) {
      const Grant& held = grants_.at(*grant);
      if (held.lender == key.first || !FitsWithout(pools_[held.lender], want, held.info)) continue;
      End(*grant);
      GrantTo(key, 1, now);
      return;
    }
  }
}

}  // namespace sheaf::scheduler
