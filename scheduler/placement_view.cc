// What others may read of the placement core: pools, viewers and tests. Nothing here decides.
#include <algorithm>
#include <tuple>
#include <utility>

#include "base/check.h"
#include "scheduler/cluster_view.h"
#include "scheduler/placement_core.h"

namespace sheaf::scheduler {
namespace {

// What is left of an answer. Names come from pools: a few with long ones must not make it too large to be sent.
class Room {
 public:
  bool Take(std::size_t names) {
    const std::size_t bytes = names + 96;  // the numbers of a row, and the fields' tags
    if (left_ < bytes) return false;
    left_ -= bytes;
    return true;
  }

 private:
  std::size_t left_ = std::size_t{6} << 20;  // the client takes 8 MiB; the pools' identities come on top
};

std::size_t SizeOf(const Resources& resources) {
  std::size_t bytes = 0;
  for (const auto& [name, amount] : resources) bytes += name.size() + 16;
  return bytes;
}
std::size_t SizeOf(const std::set<std::string>& labels) {
  std::size_t bytes = 0;
  for (const std::string& label : labels) bytes += label.size() + 4;
  return bytes;
}

}  // namespace

std::vector<GrantInfo> PlacementCore::GrantsOf(const std::string& id) const {
  std::vector<GrantInfo> grants;
  const Pool* pool = Find(id);
  if (!pool) return grants;
  for (const std::uint64_t grant : pool->borrowed) grants.push_back(grants_.at(grant).info);
  return grants;
}

std::vector<std::uint64_t> PlacementCore::VoidedOn(const std::string& id) const {
  const Pool* pool = Find(id);
  return pool ? pool->voided : std::vector<std::uint64_t>{};
}

std::vector<std::uint64_t> PlacementCore::InfeasibleOf(const std::string& id) const {
  std::vector<std::uint64_t> jobs;
  const auto found = places_.find(id);
  if (found == places_.end()) return jobs;
  for (const std::uint64_t number : pools_[found->second].jobs) {
    const Job& job = jobs_.at({found->second, number});
    const bool wants = job.want.slots > 0 && job.has == 0 && job.nowhere_since != kNever;
    if (wants && now_ - job.nowhere_since >= limits_.infeasible_after) jobs.push_back(number);
  }
  return jobs;
}

std::uint64_t PlacementCore::FreeMilli() const {
  std::uint64_t free = 0;
  for (const Pool& pool : pools_) free += Free(pool);
  return free;
}

std::size_t PlacementCore::Bytes() const {
  std::size_t bytes = pools_.capacity() * sizeof(Pool) + grants_.size() * (sizeof(Grant) + 48) +
                      jobs_.size() * (sizeof(Job) + 48) + (waiting_.size() + claims_.size()) * (sizeof(Claim) + 48);
  for (const Pool& pool : pools_)
    bytes += pool.id.capacity() + (pool.borrowed.capacity() + pool.lends.capacity() + pool.jobs.capacity()) * 8;
  return bytes;
}

std::optional<GrantRecord> PlacementCore::RecordOf(std::uint64_t id) const {
  if (const auto grant = grants_.find(id); grant != grants_.end()) {
    const auto& [info, borrower, lender, since] = grant->second;
    return GrantRecord{id,         pools_[borrower].id, pools_[borrower].incarnation,
                       info.job,   info.lender,         info.lender_incarnation,
                       info.slots, info.cpus_milli,     since};
  }
  const auto expected = expected_.find(id);
  return expected == expected_.end() ? std::nullopt : std::optional(expected->second);
}

void PlacementCore::Show(Time now, ClusterView* view) const {
  const auto milliseconds = [now](Time since) {
    return now > since ? static_cast<std::uint64_t>((now - since) / 1'000'000) : 0;
  };
  Room room;
  view->placement = true;
  for (PoolRow& row : view->pools) {
    const Pool* pool = Find(row.pool.pool_id);
    if (!pool || !pool->up) continue;
    row.own_milli = pool->own_milli;
    row.lent_milli = pool->lent_milli;
    row.offer.cpus_milli = pool->offer.cpus_milli;
    row.offer.address = pool->offer.address;
    if (!room.Take(SizeOf(pool->offer.has.resources) + SizeOf(pool->offer.has.labels) + SizeOf(pool->lent) +
                   SizeOf(pool->own))) {
      ++view->left_out;
      continue;
    }
    row.offer = pool->offer;
    row.lent = pool->lent;
    for (const auto& [name, amount] : pool->own) row.lent[name] += amount;
  }
  for (const auto& [key, job] : jobs_) {
    JobRow row;
    row.pool = pools_[key.first].id;
    row.job = key.second;
    row.holds = job.has;
    row.want = job.want;
    row.want.bytes.clear();
    if (job.has < job.want.slots) row.waiting_ms = milliseconds(job.since);
    if (room.Take(row.pool.size() + SizeOf(row.want.needs.resources) + SizeOf(row.want.needs.labels))) {
      view->jobs.push_back(std::move(row));
    } else {
      ++view->left_out;
    }
  }
  std::map<std::pair<std::string, std::uint64_t>, std::uint32_t> held;  // by jobs of which no more is known yet
  for (const auto& [id, grant] : expected_) held[{grant.borrower, grant.job}] += grant.slots;
  for (const auto& [name, slots] : held) {
    JobRow row;
    std::tie(row.pool, row.job) = name;
    row.holds = slots;
    row.expected = true;
    if (room.Take(row.pool.size())) {
      view->jobs.push_back(std::move(row));
    } else {
      ++view->left_out;
    }
  }
  std::sort(view->jobs.begin(), view->jobs.end(), [](const JobRow& a, const JobRow& b) {
    return std::tie(a.pool, a.job) < std::tie(b.pool, b.job);  // not by place: that changes when a pool comes back
  });
  const auto show = [&](std::uint64_t id, bool expected) {
    const GrantRecord grant = *RecordOf(id);
    if (!room.Take(grant.borrower.size() + grant.lender.size())) {
      ++view->left_out;
      return;
    }
    view->grants.push_back({id, grant.borrower, grant.borrower_incarnation, grant.job, grant.lender,
                            grant.lender_incarnation, grant.slots, grant.cpus_milli, milliseconds(grant.since),
                            expected});
  };
  for (const auto& [id, grant] : expected_) show(id, true);
  for (const auto& [id, grant] : grants_) show(id, false);
}

void PlacementCore::Check() const {
  std::vector<std::uint64_t> lent(pools_.size(), 0);
  std::map<JobKey, std::uint32_t> has;
  for (const auto& [id, grant] : grants_) {
    SHEAF_CHECK(id == grant.info.id && grant.borrower < pools_.size() && grant.lender < pools_.size());
    SHEAF_CHECK(pools_[grant.lender].up && pools_[grant.borrower].up);
    SHEAF_CHECK(grant.lender != grant.borrower);
    lent[grant.lender] += std::uint64_t{grant.info.slots} * grant.info.cpus_milli;
    has[{grant.borrower, grant.info.job}] += grant.info.slots;
  }
  for (Place place = 0; place < pools_.size(); ++place) {
    SHEAF_CHECK(pools_[place].lent_milli == lent[place]);
    const std::size_t bucket = std::min<std::uint64_t>(Free(pools_[place]) / 1000, kBuckets - 1);
    SHEAF_CHECK(pools_[place].bucket == bucket);
  }
  for (const auto& [key, job] : jobs_) {
    const auto found = has.find(key);
    SHEAF_CHECK(job.has == (found == has.end() ? 0 : found->second));
    SHEAF_CHECK(claims_.contains(key) == (job.has < job.want.slots));
  }
  SHEAF_CHECK(waiting_.size() == claims_.size());
  std::size_t credits = 0;
  for (const Pool& pool : pools_) credits += pool.credits.size();
  SHEAF_CHECK(credits == credits_.size());
  for (const auto& [id, credit] : credits_)
    SHEAF_CHECK(!grants_.contains(id) && pools_[credit.borrower].up && pools_[credit.lender].up &&
                pools_[credit.lender].incarnation == credit.info.grant.lender_incarnation);
}

}  // namespace sheaf::scheduler
