// Which pool lends slots to which job of another pool.
//
// A pool that cannot run what its jobs want reports so, as a level: how many CPUs elsewhere each job could use. The core
// answers with grants: so many slots of that pool, until they are returned, the lender is gone or somebody has a better
// claim. Everything is a level: a report carries all wants and all grants that its sender holds, the answer carries all that
// it may hold. So a lost, late or repeated message changes nothing that the next one does not mend. A grant that a report does not
// name was returned, or its answer was lost and it is void.
//
// Slots are lent to whoever has least of them (max-min fair by job), where the arguments' bytes lie first, else where most is
// free; in bulk: a job with a backlog gets its share at once. Where all is lent and a job has nothing, the richest job's youngest
// grant is taken back. Amounts are exact, in thousandths.
//
// A borrower that returns a grant and keeps what stands for it (a parked relay) gets a credit: the next grant for it, in advance. A
// credit holds no slots; it can be begun while they are free, without a question, and counts from the report that names it as held.
// docs/decisions/0008, "Credits".
//
// Sans-IO: no clock, no thread, no hash order. One owner thread; not synchronised.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/needs.h"
#include "scheduler/node_table.h"

namespace sheaf::scheduler {

using Resources = std::map<std::string, std::uint64_t>;  // custom ones by name, in thousandths

struct LeaseWant {
  std::uint64_t job = 0;  // as its pool numbers it
  std::uint32_t slots = 0, cpus_milli = 1000;
  std::uint64_t waiting_ms = 0;
  Needs needs;                                               // of each slot, besides CPUs
  std::vector<std::pair<std::string, std::uint64_t>> bytes;  // pool, bytes of the arguments that lie there
  friend bool operator==(const LeaseWant&, const LeaseWant&) = default;
};

struct GrantInfo {
  std::uint64_t id = 0;  // never used twice: the scheduler's epoch stands in its upper bits
  std::uint64_t job = 0;
  std::string lender;  // pool
  std::uint64_t lender_incarnation = 0;
  std::string address;  // where the lender takes relays
  std::uint32_t slots = 0, cpus_milli = 1000;
  Resources resources = {};  // of each slot
  friend bool operator==(const GrantInfo&, const GrantInfo&) = default;
};

// The life of the scheduler that gave it.
constexpr std::uint64_t EpochOf(std::uint64_t grant) { return grant >> 40; }

// What of a grant must survive the scheduler.
struct GrantRecord {
  std::uint64_t id = 0;
  std::string borrower;
  std::uint64_t borrower_incarnation = 0, job = 0;
  std::string lender;
  std::uint64_t lender_incarnation = 0;
  std::uint32_t slots = 0, cpus_milli = 0;
  Time since = 0;  // by the core's clock; in the state store by the time of day, as the core's begins anew
  friend bool operator==(const GrantRecord&, const GrantRecord&) = default;
};

struct PoolOffer {
  std::uint64_t cpus_milli = 0;
  Needs has;
  std::string address;  // empty: takes no relays
  friend bool operator==(const PoolOffer&, const PoolOffer&) = default;
};

struct PoolReport {
  std::uint64_t own_milli = 0;  // of its CPUs, what its own jobs use
  std::vector<LeaseWant> wants;
  std::vector<GrantInfo> held;
  Resources own = {};                      // of its custom resources, what its own jobs use
  std::vector<std::uint64_t> parked = {};  // grants that it has returned, and could go on by at once
  std::vector<std::uint64_t> begun = {};   // of what it holds: by a credit, and no answer has said yet that it may
};

// The right to begin `grant` later, in the place of one that was returned.
struct CreditInfo {
  std::uint64_t parked = 0;
  GrantInfo grant;
  friend bool operator==(const CreditInfo&, const CreditInfo&) = default;
};

// Whether the pool, with nothing on it, has what one slot needs.
bool CouldFit(const PoolOffer& offer, const LeaseWant& want);

struct ClusterView;

class PlacementCore {
 public:
  struct Limits {
    std::size_t wants_per_pool = 256;
    std::size_t grants_per_pool = 1024;
    Time revoke_after = 500'000'000;        // how long a job without any slot waits before another's is taken
    Time infeasible_after = 2'000'000'000;  // pools may still be joining, or coming back to a restarted scheduler
    // Deliberate mistakes, for tests that must find them.
    bool bug_lost_answer_keeps_slots = false;
    bool bug_lender_death_keeps_grant = false;
    bool bug_old_epoch_is_free = false;
    bool bug_own_slots_forgotten = false;
    bool bug_no_fairness = false;
    bool bug_lends_to_itself = false;
    bool bug_credit_needs_no_room = false;
  };

  PlacementCore(const Limits& limits, std::uint64_t epoch) : limits_(limits), next_grant_((epoch << 40) + 1) {}

  void PoolUp(const std::string& pool, std::uint64_t incarnation, const PoolOffer& offer, Time now);
  void PoolDown(const std::string& pool, Time now);
  void Report(const std::string& pool, const PoolReport& report, Time now);
  // All that the pool may hold now, in the order in which it was granted.
  std::vector<GrantInfo> GrantsOf(const std::string& pool) const;
  // Grants on it whose borrower was lost: what it still runs by them is over. The latest, in the order of their end.
  std::vector<std::uint64_t> VoidedOn(const std::string& pool) const;
  // What the pool may begin by itself, as far as the slots for it are free now.
  std::vector<CreditInfo> CreditsOf(const std::string& pool) const;
  // Jobs of the pool that have wanted for a while what no pool of the cluster has, busy or not.
  std::vector<std::uint64_t> InfeasibleOf(const std::string& pool) const;
  void Tick(Time now);
  Time NextDeadline() const;

  // A grant of an earlier life of this scheduler, as its state tells. It is shown until its borrower reports, or either pool
  // is gone or lives anew; what it lends is not counted before the borrower says that it is still in use.
  void Expect(const GrantRecord& grant);
  // Grants that have begun, ended or are expected no more since the last call; one may be named twice.
  std::vector<std::uint64_t> TakeChanged() { return std::exchange(changed_, {}); }
  // nullopt: neither in force nor expected.
  std::optional<GrantRecord> RecordOf(std::uint64_t grant) const;

  std::size_t grants() const { return grants_.size(); }
  std::uint64_t granted() const { return granted_; }  // slots, ever
  std::uint64_t FreeMilli() const;
  std::size_t Bytes() const;  // resident, about
  // Adds what the pools of `view` offer and lend, the jobs and the grants, as far as an answer of bounded size has room.
  void Show(Time now, ClusterView* view) const;
  void Check() const;

 private:
  using Place = std::uint32_t;  // index of a pool
  using JobKey = std::pair<Place, std::uint64_t>;
  static constexpr std::size_t kBuckets = 257;  // by free CPUs; the last holds all that have more
  static constexpr Place kNowhere = ~Place{0};

  struct Pool {
    std::string id;
    std::uint64_t incarnation = 0;
    bool up = false;
    PoolOffer offer;
    std::uint64_t own_milli = 0, lent_milli = 0;
    Resources own, lent;
    std::vector<std::uint64_t> borrowed, lends;  // grants
    std::vector<std::uint64_t> voided;
    std::vector<std::uint64_t> credits;  // of it as a borrower
    std::vector<std::uint64_t> jobs;     // that want, as reported
    std::size_t bucket = 0;
    Place next = kNowhere, previous = kNowhere;  // in the bucket
  };
  struct Grant {
    GrantInfo info;
    Place borrower = kNowhere, lender = kNowhere;
    Time since = 0;
  };
  struct Credit {
    CreditInfo info;
    Place borrower = kNowhere, lender = kNowhere;
  };
  struct Job {
    LeaseWant want;
    std::uint32_t has = 0;        // slots granted
    Time since = 0;               // wants more than it has
    Time nowhere_since = kNever;  // no pool has what it wants, as its pool's reports found
    std::set<std::uint64_t> grants;
  };

  Pool* Find(const std::string& pool);
  const Pool* Find(const std::string& pool) const;
  std::uint64_t Free(const Pool& pool) const;
  std::uint32_t SlotsFor(const Pool& pool, const LeaseWant& want, std::uint32_t most) const;
  void Index(Place place);
  void Unlink(Place place);
  void Serve(Time now);
  void GrantTo(const JobKey& key, std::uint32_t most, Time now);
  void Make(const JobKey& key, Place lender, std::uint32_t slots, Time now);
  void Enter(Grant grant);
  Job& JobOf(Place borrower, std::uint64_t job);
  void Adopt(Place borrower, const GrantInfo& held, bool begun);
  void GiveCredits(Place borrower, const PoolReport& report, const std::vector<GrantInfo>& parked, Time now);
  void BeginCredit(std::uint64_t credit, Time now);
  std::uint32_t BeginCredits(const JobKey& key, Place lender, std::uint32_t most, Time now);
  void EndCredit(std::uint64_t credit);
  void EndCreditsOf(Place place);
  void Void(Place lender, std::uint64_t grant);
  bool HasRoom(const GrantInfo& grant, const Pool& lender) const;
  void End(std::uint64_t grant);
  void Drop(const std::string& pool, Time now);
  void Unexpect(std::uint64_t grant);
  // Of what is expected by or from that pool, all but what belongs to its life `incarnation`.
  void UnexpectOthers(const std::string& pool, std::uint64_t incarnation);
  void Wait(const JobKey& key, Time now);  // puts the job where its want says
  void TakeBack(Time now);
  void LookWhere(Place place, Time now);
  bool FitsWithout(const Pool& pool, const LeaseWant& want, const GrantInfo& grant) const;
  Place AddPlace(const std::string& pool);

  const Limits limits_;
  std::vector<Pool> pools_;
  std::map<std::string, Place> places_;
  std::vector<Place> free_places_;
  std::vector<Place> heads_ = std::vector<Place>(kBuckets, kNowhere);
  std::size_t highest_ = 0;  // no bucket above it has a pool
  std::map<std::uint64_t, Grant> grants_;
  std::map<std::uint64_t, Credit> credits_;  // by the id of the grant to come
  std::map<JobKey, Job> jobs_;
  // Jobs that want more than they have: who has least comes first, then who has waited longest.
  using Claim = std::pair<std::pair<std::uint32_t, Time>, JobKey>;
  std::set<Claim> waiting_;
  std::map<JobKey, Claim> claims_;
  std::map<std::uint64_t, GrantRecord> expected_;
  std::map<std::string, std::set<std::uint64_t>> expected_at_;  // borrower or lender
  std::vector<std::uint64_t> changed_;
  std::uint64_t next_grant_;
  std::uint64_t granted_ = 0;
  Time now_ = 0, last_taken_ = 0;  // when something was, or could have been, taken back
};

}  // namespace sheaf::scheduler
