#include "scheduler/placement_why.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/needs.h"

namespace sheaf::scheduler {
namespace {

constexpr std::size_t kNamedMax = 8;  // pools in one sentence

std::string Count(std::uint64_t n, const std::string& what) {
  return std::to_string(n) + " " + what + (n == 1 ? "" : "s");
}

std::string Join(const std::vector<std::string>& parts, const char* between) {
  std::string text;
  for (std::size_t i = 0; i < std::min(parts.size(), kNamedMax); ++i) text += (i ? between : "") + parts[i];
  if (parts.size() > kNamedMax) text += between + std::to_string(parts.size() - kNamedMax) + " more";
  return text;
}

std::string Seconds(std::uint64_t ms) { return FormatAmount(ms / 100 * 100) + " s"; }

std::uint64_t FreeOf(const PoolRow& row) {
  const std::uint64_t used = row.own_milli + row.lent_milli;
  return used < row.offer.cpus_milli ? row.offer.cpus_milli - used : 0;
}

// As PlacementCore::SlotsFor and its buckets: a pool with less than a CPU free is no candidate.
bool HasRoom(const PoolRow& row, const LeaseWant& want) {
  if (FreeOf(row) < std::max<std::uint64_t>(want.cpus_milli, 1000)) return false;
  return std::all_of(want.needs.resources.begin(), want.needs.resources.end(), [&](const auto& need) {
    const auto lent = row.lent.find(need.first);
    return (lent == row.lent.end() ? 0 : lent->second) + need.second <= row.offer.has.resources.at(need.first);
  });
}

// What of the want no pool has at all; empty: each part is somewhere, but no pool has them together.
std::vector<std::string> MissingIn(const std::vector<const PoolRow*>& lenders, const LeaseWant& want) {
  std::vector<std::string> missing;
  std::uint64_t cpus = 0;
  for (const PoolRow* row : lenders) cpus = std::max(cpus, row->offer.cpus_milli);
  if (cpus < want.cpus_milli)
    missing.push_back(FormatAmount(want.cpus_milli) + " CPUs in one slot (the largest pool has " + FormatAmount(cpus) +
                      ")");
  for (const auto& [name, amount] : want.needs.resources) {
    std::uint64_t most = 0;
    for (const PoolRow* row : lenders)
      if (const auto has = row->offer.has.resources.find(name); has != row->offer.has.resources.end())
        most = std::max(most, has->second);
    if (most >= amount && most > 0) continue;
    missing.push_back(FormatAmount(amount) + " " + name + (most == 0 ? "" : " (at most " + FormatAmount(most) + ")"));
  }
  for (const std::string& label : want.needs.labels) {
    const bool somewhere = std::any_of(lenders.begin(), lenders.end(),
                                       [&](const PoolRow* row) { return row->offer.has.labels.contains(label); });
    if (!somewhere) missing.push_back("the label " + label);
  }
  return missing;
}

Explanation Infeasible(const std::vector<const PoolRow*>& lenders, const LeaseWant& want) {
  if (lenders.empty()) return {Reason::kInfeasible, {"No other pool of the cluster lends anything."}};
  const std::vector<std::string> missing = MissingIn(lenders, want);
  const std::string needs = "A slot of it needs " + NeedsOf(want) + ".";
  if (missing.empty())
    return {Reason::kInfeasible, {needs, "No other pool has all of that together, not even when nothing runs on it."}};
  return {Reason::kInfeasible, {needs, "No other pool has " + Join(missing, ", nor ") + ", busy or not."}};
}

struct Holders {
  std::string text;  // by lender: what its own jobs use, and who has been granted what there
  bool others = false;
};
Holders HoldersOf(const ClusterView& view, const std::vector<const PoolRow*>& lenders, const JobRow& job) {
  std::map<std::string, std::map<std::string, std::uint64_t>> slots;  // lender -> job -> slots
  for (const GrantRow& grant : view.grants) {
    const bool own = grant.borrower == job.pool && grant.job == job.job;
    slots[grant.lender][own ? "this job" : grant.borrower + "/" + JobText(grant.job)] += grant.slots;
  }
  Holders holders;
  std::vector<std::string> pools;
  for (const PoolRow* row : lenders) {
    std::vector<std::string> who;
    if (row->own_milli > 0) who.push_back(FormatAmount(row->own_milli) + " by its own jobs");
    for (const auto& [name, n] : slots[row->pool.pool_id]) {
      who.push_back(std::to_string(n) + " by " + name);
      holders.others |= name != "this job";
    }
    pools.push_back(row->pool.pool_id + " (" + (who.empty() ? "less than it needs is free" : Join(who, ", ")) + ")");
  }
  holders.text = Join(pools, ", ");
  return holders;
}

// Whether others hold something on these pools, and none of them has more, all in all, than `holds`.
bool OthersHaveNoMore(const ClusterView& view, const std::vector<const PoolRow*>& lenders, const JobRow& job) {
  std::map<std::pair<std::string, std::uint64_t>, std::pair<std::uint64_t, bool>> others;  // slots, some of them here
  for (const GrantRow& grant : view.grants) {
    if (grant.borrower == job.pool && grant.job == job.job) continue;
    auto& [slots, here] = others[{grant.borrower, grant.job}];
    slots += grant.slots;
    here |= std::any_of(lenders.begin(), lenders.end(),
                        [&](const PoolRow* row) { return row->pool.pool_id == grant.lender; });
  }
  bool any = false;
  for (const auto& [name, other] : others) {
    if (!other.second) continue;
    any = true;
    if (other.first > job.holds) return false;
  }
  return any;
}

// The scheduler was restarted, and remembers no more than what was granted before.
Explanation NotBack(const PoolRow& home, const std::string& holds) {
  Explanation why{Reason::kPoolGone,
                  {"The scheduler was restarted, and its pool " + home.pool.pool_id +
                   " has not reported since: nothing new is granted before it does."}};
  if (!holds.empty()) why.sentences.push_back("Granted before: " + holds + ".");
  return why;
}

Explanation PoolIsGone(const PoolRow& home) {
  const std::string& name = home.pool.pool_id;
  if (home.standing == Standing::kLeft)
    return {Reason::kPoolGone, {"Its pool " + name + " has left the cluster, and its jobs with it."}};
  return {Reason::kPoolGone,
          {"Its pool " + name + " is lost: nothing was heard of it for " + Seconds(home.silent_ms) +
           ". What its jobs had elsewhere is over."}};
}

}  // namespace

const char* NameOf(Reason reason) {
  static constexpr const char* kNames[] = {"pool_gone",  "pool_drains", "wants_nothing", "granted", "infeasible",
                                           "pool_limit", "fair_share",  "nobody_free",   "next"};
  return kNames[static_cast<int>(reason)];
}

std::string NeedsOf(const LeaseWant& want) {
  std::string text = FormatAmount(want.cpus_milli) + (want.cpus_milli == 1000 ? " CPU" : " CPUs");
  for (const auto& [name, amount] : want.needs.resources) text += ", " + FormatAmount(amount) + " " + name;
  for (const std::string& label : want.needs.labels) text += ", " + label;
  return text;
}

std::string HoldsOf(const ClusterView& view, const std::string& pool, std::uint64_t job) {
  std::map<std::string, std::uint64_t> slots;
  for (const GrantRow& grant : view.grants)
    if (grant.borrower == pool && grant.job == job) slots[grant.lender] += grant.slots;
  std::vector<std::pair<std::uint64_t, std::string>> most;
  for (const auto& [lender, n] : slots) most.emplace_back(n, lender);
  std::sort(most.begin(), most.end(),
            [](const auto& a, const auto& b) { return a.first != b.first ? a.first > b.first : a.second < b.second; });
  std::vector<std::string> parts;
  for (const auto& [n, lender] : most) parts.push_back(std::to_string(n) + " on " + lender);
  return Join(parts, ", ");
}

std::optional<Explanation> Why(const ClusterView& view, const std::string& pool, std::uint64_t number) {
  const auto home =
      std::find_if(view.pools.begin(), view.pools.end(), [&](const PoolRow& row) { return row.pool.pool_id == pool; });
  if (home == view.pools.end()) return std::nullopt;
  if (home->standing == Standing::kExpected) return NotBack(*home, HoldsOf(view, pool, number));
  if (home->standing != Standing::kAlive) return PoolIsGone(*home);
  if (home->draining)
    return Explanation{Reason::kPoolDrains,
                       {"Its pool " + pool + " is draining: it was asked to end, and its jobs end."}};
  const auto found = std::find_if(view.jobs.begin(), view.jobs.end(),
                                  [&](const JobRow& row) { return row.pool == pool && row.job == number; });
  const bool listed = found != view.jobs.end();
  const std::string holds = HoldsOf(view, pool, number);
  if (listed && found->expected) return NotBack(*home, holds);
  if (!listed && holds.empty() && view.left_out == 0) return std::nullopt;
  if (!listed || found->want.slots == 0) {
    Explanation none{Reason::kWantsNothing,
                     {"It wants nothing from other pools: what it has to do, its own pool does."}};
    if (!listed && holds.empty()) none.sentences = {"The answer had no room for all jobs, and this one is not in it."};
    if (!holds.empty()) none.sentences.push_back("It holds " + holds + " yet, and gives that back.");
    return none;
  }
  const JobRow& job = *found;
  if (job.holds >= job.want.slots)
    return Explanation{Reason::kGranted, {"It wants " + Count(job.want.slots, "slot") + " and holds " + holds + "."}};

  std::vector<const PoolRow*> lenders, fitting;
  for (const PoolRow& row : view.pools) {
    if (&row == &*home || row.standing != Standing::kAlive || row.draining || row.offer.address.empty() ||
        row.offer.cpus_milli == 0)
      continue;
    lenders.push_back(&row);
    if (CouldFit(row.offer, job.want)) fitting.push_back(&row);
  }
  Explanation why;
  if (fitting.empty()) {
    why = Infeasible(lenders, job.want);
  } else if (const auto borrowed = std::count_if(view.grants.begin(), view.grants.end(),
                                                 [&](const GrantRow& grant) { return grant.borrower == pool; });
             static_cast<std::size_t>(borrowed) >= PlacementCore::Limits{}.grants_per_pool) {
    why = {Reason::kPoolLimit, {"Its pool holds " + Count(borrowed, "grant") + ", as many as one pool may."}};
  } else if (const auto room = std::find_if(fitting.begin(), fitting.end(),
                                            [&](const PoolRow* row) { return HasRoom(*row, job.want); });
             room != fitting.end()) {
    why = {Reason::kNext, {(*room)->pool.pool_id + " has room for it: it is granted with the next report."}};
  } else if (job.holds > 0 && OthersHaveNoMore(view, fitting, job)) {
    why = {Reason::kFairShare,
           {"It has its fair share: no job on the pools that it could use has more than its " +
                Count(job.holds, "slot") + ".",
            "In use: " + HoldersOf(view, fitting, job).text + "."}};
  } else {
    const Holders holders = HoldersOf(view, fitting, job);
    why = {Reason::kNobodyFree, {"Nobody has a free slot for it. In use: " + holders.text + "."}};
    if (holders.others)
      why.sentences.push_back(job.holds > 0 ? "A slot is taken back from others only for a job that has none."
                                            : "Whoever has several grants gives one back to a job that has none.");
  }
  why.sentences.insert(why.sentences.begin(), "It wants " + Count(job.want.slots, "slot") + " of " + NeedsOf(job.want) +
                                                  ", holds " + (holds.empty() ? "none" : holds) +
                                                  " and has waited for " + Seconds(job.waiting_ms) + ".");
  return why;
}

}  // namespace sheaf::scheduler
