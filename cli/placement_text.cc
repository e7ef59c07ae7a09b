#include "cli/placement_text.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/needs.h"
#include "cli/status_view.h"
#include "cli/text_table.h"

namespace sheaf::cli {
namespace {

using nlohmann::json;
using scheduler::ClusterView;
using scheduler::GrantRow;
using scheduler::JobRow;
using scheduler::PoolRow;
using Rows = std::vector<std::vector<std::string>>;

std::string NameOf(const std::string& pool, std::uint64_t job) { return pool + "/" + scheduler::JobText(job); }
// The scheduler's life that gave it, and its number in that life.
std::string GrantName(std::uint64_t id) {
  return std::to_string(id >> 40) + "." + std::to_string(id & ((std::uint64_t{1} << 40) - 1));
}
std::uint64_t Free(const PoolRow& row) {
  const std::uint64_t used = row.own_milli + row.lent_milli;
  return used < row.offer.cpus_milli ? row.offer.cpus_milli - used : 0;
}
const PoolRow* FindPool(const ClusterView& view, const std::string& pool) {
  const auto found =
      std::find_if(view.pools.begin(), view.pools.end(), [&](const PoolRow& row) { return row.pool.pool_id == pool; });
  return found == view.pools.end() ? nullptr : &*found;
}
const JobRow* FindJob(const ClusterView& view, const JobName& name) {
  const auto found = std::find_if(view.jobs.begin(), view.jobs.end(),
                                  [&](const JobRow& row) { return row.pool == name.pool && row.job == name.number; });
  return found == view.jobs.end() ? nullptr : &*found;
}
std::string MachineOf(const ClusterView& view, const std::string& pool) {
  const PoolRow* row = FindPool(view, pool);
  return row ? row->pool.machine : std::string();
}
std::string StandingOf(const PoolRow& row) { return row.draining ? "draining" : scheduler::NameOf(row.standing); }

// ---- tables

std::string PoolsTable(const ClusterView& view) {
  if (view.pools.empty()) return "no pools yet\n";
  Rows rows;
  for (const PoolRow& row : view.pools)
    rows.push_back({Printable(row.pool.pool_id), StandingOf(row), std::to_string(row.load.slots),
                    FormatAmount(row.own_milli), FormatAmount(row.lent_milli), FormatAmount(Free(row)),
                    HumanDuration(row.silent_ms), Printable(row.pool.machine), Printable(row.pool.address)});
  return Table({{"POOL", false},
                {"STANDING", false},
                {"SLOTS", true},
                {"USED", true},
                {"LENT", true},
                {"FREE", true},
                {"SILENT FOR", true},
                {"MACHINE", false},
                {"ADDRESS", false}},
               rows);
}

std::string JobsTable(const ClusterView& view, const std::vector<const JobRow*>& jobs) {
  Rows rows;
  for (const JobRow* job : jobs) {
    const std::string on = scheduler::HoldsOf(view, job->pool, job->job);
    rows.push_back({Printable(NameOf(job->pool, job->job)), Printable(MachineOf(view, job->pool)),
                    job->expected ? "?" : std::to_string(job->want.slots),
                    job->expected ? "?" : Printable(scheduler::NeedsOf(job->want)), std::to_string(job->holds),
                    on.empty() ? "-" : Printable(on),
                    job->expected                  ? "expected"
                    : job->holds < job->want.slots ? HumanDuration(job->waiting_ms)
                                                   : "-"});
  }
  return Table({{"JOB", false},
                {"HOME", false},
                {"WANTS", true},
                {"OF", false},
                {"HOLDS", true},
                {"ON", false},
                {"WAITING", true}},
               rows);
}

const char* Standing(const GrantRow& grant) { return grant.expected ? "expected" : "granted"; }

std::string GrantsTable(const std::vector<const GrantRow*>& grants) {
  Rows rows;
  for (const GrantRow* grant : grants)
    rows.push_back({GrantName(grant->id), Printable(NameOf(grant->borrower, grant->job)), Printable(grant->lender),
                    std::to_string(grant->slots), FormatAmount(grant->cpus_milli), HumanDuration(grant->age_ms),
                    Standing(*grant)});
  return Table({{"GRANT", false},
                {"JOB", false},
                {"LENDER", false},
                {"SLOTS", true},
                {"CPUS", true},
                {"AGE", true},
                {"STANDING", false}},
               rows);
}

// "name    value", one a line.
std::string Facts(const std::vector<std::pair<std::string, std::string>>& facts) {
  std::string text;
  for (const auto& [name, value] : facts)
    text += name + std::string(name.size() < 12 ? 12 - name.size() : 1, ' ') + Printable(value) + "\n";
  return text;
}

template <class T, class Predicate>
std::vector<const T*> Those(const std::vector<T>& all, const Predicate& wanted) {
  std::vector<const T*> some;
  for (const T& one : all)
    if (wanted(one)) some.push_back(&one);
  return some;
}
constexpr auto kAll = [](const auto&) { return true; };
auto Of(const std::string& pool) {
  return [&pool](const JobRow& job) { return job.pool == pool; };
}
auto With(const std::string& pool) {
  return [&pool](const GrantRow& grant) { return grant.borrower == pool || grant.lender == pool; };
}
auto By(const JobName& job) {
  return [&job](const GrantRow& grant) { return grant.borrower == job.pool && grant.job == job.number; };
}

// ---- JSON

json Document(const char* schema, const ClusterView& view, const NoAnswer* none) {
  json out = {{"schema", schema},
              {"cluster_id", none ? json(nullptr) : json(view.cluster_id)},
              {"epoch", none ? json(nullptr) : json(view.epoch)},
              {"left_out", view.left_out},
              {"unreachable", json::array()}};
  if (none) out["unreachable"].push_back({{"address", none->address}, {"reason", none->reason}});
  return out;
}
std::string Text(const json& document) { return document.dump(-1, ' ', false, json::error_handler_t::replace) + "\n"; }

json ToJson(const PoolRow& row) {
  return {{"pool_id", row.pool.pool_id},
          {"incarnation", row.pool.incarnation},
          {"machine", row.pool.machine},
          {"address", row.pool.address},
          {"pid", row.pool.pid},
          {"version", row.pool.version},
          {"standing", scheduler::NameOf(row.standing)},
          {"draining", row.draining},
          {"silent_ms", row.silent_ms},
          {"slots", row.load.slots},
          {"offered_milli", row.offer.cpus_milli},
          {"own_milli", row.own_milli},
          {"lent_milli", row.lent_milli},
          {"free_milli", Free(row)},
          {"resources_milli", row.offer.has.resources},
          {"resources_lent_milli", row.lent},
          {"labels", row.offer.has.labels},
          {"relay_address", row.offer.address}};
}

json ToJson(const ClusterView& view, const JobRow& job) {
  std::map<std::string, std::uint64_t> slots;
  for (const GrantRow* grant : Those(view.grants, By({job.pool, job.job}))) slots[grant->lender] += grant->slots;
  json on = json::array();
  for (const auto& [lender, n] : slots) on.push_back({{"pool_id", lender}, {"slots", n}});
  return {{"job_id", NameOf(job.pool, job.job)},
          {"pool_id", job.pool},
          {"job", job.job},
          {"machine", MachineOf(view, job.pool)},
          {"expected", job.expected},
          {"wants", job.expected ? json(nullptr) : json(job.want.slots)},
          {"cpus_milli", job.expected ? json(nullptr) : json(job.want.cpus_milli)},
          {"resources_milli", job.want.needs.resources},
          {"labels", job.want.needs.labels},
          {"holds", job.holds},
          {"on", on},
          {"waiting_ms", job.holds < job.want.slots ? json(job.waiting_ms) : json(nullptr)}};
}

json ToJson(const GrantRow& grant) {
  return {{"id", grant.id},
          {"epoch", grant.id >> 40},
          {"job_id", NameOf(grant.borrower, grant.job)},
          {"borrower", grant.borrower},
          {"borrower_incarnation", grant.borrower_incarnation},
          {"job", grant.job},
          {"lender", grant.lender},
          {"lender_incarnation", grant.lender_incarnation},
          {"slots", grant.slots},
          {"cpus_milli", grant.cpus_milli},
          {"age_ms", grant.age_ms},
          {"standing", Standing(grant)}};
}

template <class T, class Predicate>
json Array(const std::vector<T>& all, const Predicate& wanted) {
  json out = json::array();
  for (const T* one : Those(all, wanted)) out.push_back(ToJson(*one));
  return out;
}
template <class Predicate>
json Jobs(const ClusterView& view, const Predicate& wanted) {
  json out = json::array();
  for (const JobRow* job : Those(view.jobs, wanted)) out.push_back(ToJson(view, *job));
  return out;
}

}  // namespace

std::optional<JobName> ParseJobName(const std::string& text) {
  const std::size_t slash = text.rfind('/');
  if (slash == std::string::npos || slash == 0) return std::nullopt;
  JobName name{text.substr(0, slash), 0};
  const char* end = text.data() + text.size();
  std::uint32_t job = 0, shape = 0;
  auto [stopped, error] = std::from_chars(text.data() + slash + 1, end, job);
  if (error == std::errc() && stopped != end && *stopped == '.') {
    std::tie(stopped, error) = [&] {
      const auto read = std::from_chars(stopped + 1, end, shape);
      return std::pair(read.ptr, shape == 0 ? std::errc::invalid_argument : read.ec);
    }();
  }
  if (error != std::errc() || stopped != end) return std::nullopt;
  name.number = std::uint64_t{shape} << 32 | job;
  return name;
}

std::string ListTable(Kind kind, const ClusterView& view) {
  switch (kind) {
    case Kind::kPools:
      return PoolsTable(view);
    case Kind::kJobs:
      return view.jobs.empty() ? "no job wants or holds slots of another pool\n"
                               : JobsTable(view, Those(view.jobs, kAll));
    case Kind::kGrants:
      return view.grants.empty() ? "no grants\n" : GrantsTable(Those(view.grants, kAll));
  }
  return {};
}

std::string ListJson(Kind kind, const ClusterView& view, const NoAnswer* none) {
  json out = Document("sheaf.list.v1", view, none);
  switch (kind) {
    case Kind::kPools:
      out["pools"] = Array(view.pools, kAll);
      break;
    case Kind::kJobs:
      out["jobs"] = Jobs(view, kAll);
      break;
    case Kind::kGrants:
      out["grants"] = Array(view.grants, kAll);
      break;
  }
  return Text(out);
}

std::string PoolTable(const ClusterView& view, const std::string& pool) {
  const PoolRow* row = FindPool(view, pool);
  if (!row) return {};
  std::string has;
  for (const auto& [name, amount] : row->offer.has.resources) {
    const auto lent = row->lent.find(name);
    has += (has.empty() ? "" : ", ") + FormatAmount(amount) + " " + name;
    if (lent != row->lent.end() && lent->second > 0) has += " (" + FormatAmount(lent->second) + " lent)";
  }
  for (const std::string& label : row->offer.has.labels) has += (has.empty() ? "" : ", ") + label;
  std::string text = Facts(
      {{"pool", pool},
       {"standing", StandingOf(*row)},
       {"machine", row->pool.machine},
       {"address", row->pool.address},
       {"process", std::to_string(row->pool.pid) + ", sheaf " + row->pool.version},
       {"silent for", HumanDuration(row->silent_ms)},
       {"slots", std::to_string(row->load.slots) + ": " + FormatAmount(row->own_milli) + " used by its own jobs, " +
                     FormatAmount(row->lent_milli) + " lent, " + FormatAmount(Free(*row)) + " free"},
       {"also has", has.empty() ? "-" : has},
       {"relays at", row->offer.address.empty() ? "-" : row->offer.address}});
  const auto jobs = Those(view.jobs, Of(pool));
  const auto grants = Those(view.grants, With(pool));
  if (!jobs.empty()) text += "\n" + JobsTable(view, jobs);
  if (!grants.empty()) text += "\n" + GrantsTable(grants);
  return text;
}

std::string JobTable(const ClusterView& view, const JobName& name) {
  const JobRow* job = FindJob(view, name);
  if (!job) return {};
  const std::string on = scheduler::HoldsOf(view, name.pool, name.number);
  std::string text =
      Facts({{"job", NameOf(name.pool, name.number)},
             {"home", name.pool + " on " + MachineOf(view, name.pool)},
             {"wants", job->expected ? "not known: its pool has not reported since the scheduler's restart"
                                     : std::to_string(job->want.slots) + " slots of " + scheduler::NeedsOf(job->want)},
             {"holds", std::to_string(job->holds) + (on.empty() ? "" : ": " + on)},
             {"waiting", job->holds < job->want.slots ? HumanDuration(job->waiting_ms) : "no"}});
  const auto grants = Those(view.grants, By(name));
  if (!grants.empty()) text += "\n" + GrantsTable(grants);
  return text;
}

std::string PoolJson(const ClusterView& view, const std::string& pool, const NoAnswer* none) {
  json out = Document("sheaf.get.v1", view, none);
  const PoolRow* row = FindPool(view, pool);
  out["pool"] = row ? ToJson(*row) : json(nullptr);
  out["jobs"] = Jobs(view, Of(pool));
  out["grants"] = Array(view.grants, With(pool));
  return Text(out);
}

std::string JobJson(const ClusterView& view, const JobName& name, const NoAnswer* none) {
  json out = Document("sheaf.get.v1", view, none);
  const JobRow* job = FindJob(view, name);
  out["job"] = job ? ToJson(view, *job) : json(nullptr);
  out["grants"] = Array(view.grants, By(name));
  return Text(out);
}

std::string NoSuchJob(const ClusterView& view, const JobName& name) {
  if (!FindPool(view, name.pool)) return "no pool is named " + Printable(name.pool) + "; see sheaf list pools";
  return "no job " + Printable(NameOf(name.pool, name.number)) +
         " wants or holds anything on other pools; see sheaf list jobs";
}

std::string WhyText(const scheduler::Explanation& why) {
  std::string text;
  for (const std::string& sentence : why.sentences) text += Printable(sentence) + "\n";
  return text;
}

std::string WhyJson(const ClusterView& view, const JobName& name, const std::optional<scheduler::Explanation>& why,
                    const NoAnswer* none) {
  json out = Document("sheaf.why.v1", view, none);
  const JobRow* job = FindJob(view, name);
  out["job_id"] = NameOf(name.pool, name.number);
  out["job"] = job ? ToJson(view, *job) : json(nullptr);
  out["reason"] = why ? json(scheduler::NameOf(why->reason)) : json(nullptr);
  out["sentences"] = why ? json(why->sentences) : json::array();
  return Text(out);
}

}  // namespace sheaf::cli
