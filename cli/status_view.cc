#include "cli/status_view.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <utility>

#include "cli/text_table.h"

namespace sheaf::cli {
namespace {

using nlohmann::json;
using scheduler::ClusterView;
using scheduler::PoolRow;
using scheduler::Standing;

// One pool, from whoever tells of it.
struct Row {
  const PoolRow* member = nullptr;  // a scheduler's word
  const ClusterView* cluster = nullptr;
  const PoolView* own = nullptr;  // its own word: fresher
};

std::vector<Row> Merge(const MachineStatus& status) {
  std::vector<Row> rows;
  for (const ClusterView& cluster : status.clusters) {
    for (const PoolRow& pool : cluster.pools) rows.push_back({&pool, &cluster, nullptr});
  }
  for (const PoolView& view : status.pools) {
    const auto same = std::find_if(rows.begin(), rows.end(), [&](const Row& row) {
      return row.member != nullptr && row.own == nullptr && row.member->pool.pool_id == view.pool_id &&
             row.member->pool.incarnation == view.incarnation;
    });
    if (same != rows.end()) {
      same->own = &view;
    } else {
      rows.push_back({nullptr, nullptr, &view});
    }
  }
  return rows;
}

// The merged facts, once for both renderings.
struct Facts {
  std::string pool_id, machine, address, state;
  std::uint32_t pid = 0;
  scheduler::PoolLoad load;
};

Facts FactsOf(const Row& row) {
  Facts facts;
  if (row.member != nullptr) {
    facts.pool_id = row.member->pool.pool_id;
    facts.machine = row.member->pool.machine;
    facts.address = row.member->pool.address;
    facts.pid = row.member->pool.pid;
    facts.state = NameOf(row.member->standing);
    facts.load = row.member->load;
  }
  if (row.own != nullptr) {
    const PoolView& own = *row.own;
    const auto count = [](int n) { return static_cast<std::uint32_t>(std::max(n, 0)); };
    facts.pool_id = own.pool_id;
    facts.machine = own.machine;
    facts.address = own.address;
    facts.pid = own.pid;
    if (own.draining) {
      facts.state = "draining";
    } else if (row.member == nullptr) {  // its scheduler was not asked, or does not know it
      facts.state = own.scheduler.empty() ? "alone" : "serving";
    }
    facts.load = {count(own.slots),        count(own.slots_leased), count(own.workers_running),
                  count(own.workers_idle), count(own.clients),      own.segment_bytes,
                  own.budget_bytes,        own.tasks_executed,      own.workers_died};
  }
  return facts;
}

json LoadJson(const scheduler::PoolLoad& load) {
  return {{"slots", load.slots},
          {"slots_leased", load.slots_leased},
          {"workers_running", load.workers_running},
          {"workers_idle", load.workers_idle},
          {"clients", load.clients},
          {"segment_bytes", load.segment_bytes},
          {"budget_bytes", load.budget_bytes},
          {"tasks_executed", load.tasks_executed},
          {"workers_died", load.workers_died}};
}

json RowJson(const Row& row) {
  const Facts facts = FactsOf(row);
  json out = LoadJson(facts.load);
  out["pool_id"] = facts.pool_id;
  out["machine"] = facts.machine;
  out["address"] = facts.address;
  out["pid"] = facts.pid;
  out["state"] = facts.state;
  out["cluster_id"] = row.cluster ? json(row.cluster->cluster_id) : json(nullptr);
  out["incarnation"] = row.own ? row.own->incarnation : row.member->pool.incarnation;
  out["silent_ms"] = row.member ? json(row.member->silent_ms) : json(nullptr);
  out["jobs"] = nullptr;  // unknown: only the pool itself tells
  if (row.own == nullptr) return out;
  out["uptime_ms"] = row.own->uptime_ms;
  out["supervisor_pid"] = row.own->supervisor_pid;
  out["scheduler"] = row.own->scheduler;
  out["jobs"] = json::array();
  for (const JobView& job : row.own->jobs) {
    out["jobs"].push_back({{"driver_pid", job.driver_pid},
                           {"program", job.program},
                           {"workers", job.workers},
                           {"tasks_executed", job.tasks_executed},
                           {"segment_bytes", job.segment_bytes}});
  }
  return out;
}

}  // namespace

std::string HumanBytes(std::uint64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  // 1023.95 would print as "1024.0": move on to the next unit from there.
  while (value >= 1023.95 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  char number[32];
  std::snprintf(number, sizeof number, "%.1f", value);
  std::string text(number);
  if (text.ends_with(".0")) text.resize(text.size() - 2);
  return text + " " + kUnits[unit];
}

std::string HumanDuration(std::uint64_t ms) {
  const std::uint64_t s = ms / 1000;
  const auto two = [](std::uint64_t a, const char* au, std::uint64_t b, const char* bu) {
    std::string text = std::to_string(a) + au;
    if (b != 0) text += " " + std::to_string(b) + bu;
    return text;
  };
  if (s < 60) return std::to_string(s) + " s";
  if (s < 3600) return std::to_string(s / 60) + " min";
  if (s < 86400) return two(s / 3600, " h", s % 3600 / 60, " min");
  return two(s / 86400, " d", s % 86400 / 3600, " h");
}

std::string RenderTable(const MachineStatus& status) {
  std::string out;
  for (const ClusterView& cluster : status.clusters) {
    out += "scheduler  " + Printable(cluster.address) + "  pid " + std::to_string(cluster.pid) + "  cluster " +
           cluster.cluster_id.substr(0, 8) + "  epoch " + std::to_string(cluster.epoch) + "  up " +
           HumanDuration(cluster.uptime_ms) + "\n";
    if (!cluster.trouble.empty()) out += "trouble    " + Printable(cluster.trouble) + "\n";
  }
  const std::vector<Row> rows = Merge(status);
  if (!status.clusters.empty() && !rows.empty()) out += "\n";
  std::vector<std::vector<std::string>> cells;
  std::vector<std::vector<std::string>> jobs;
  for (const Row& row : rows) {
    const Facts facts = FactsOf(row);
    const scheduler::PoolLoad& load = facts.load;
    const std::string silence = row.member != nullptr && row.member->standing != Standing::kAlive && row.own == nullptr
                                    ? " (silent " + HumanDuration(row.member->silent_ms) + ")"
                                    : "";
    // What a pool that is no more last said of itself holds no more; what it did stays true.
    const bool ended = row.own == nullptr && row.member != nullptr &&
                       (row.member->standing == Standing::kLost || row.member->standing == Standing::kLeft);
    const auto now = [&](const std::string& text) { return ended ? "-" : text; };
    cells.push_back({Printable(facts.pool_id), facts.state + silence, std::to_string(facts.pid),
                     now(std::to_string(load.slots_leased) + "/" + std::to_string(load.slots)),
                     now(std::to_string(load.workers_running) + " (" + std::to_string(load.workers_idle) + " idle)"),
                     now(HumanBytes(load.segment_bytes) + " / " + HumanBytes(load.budget_bytes)),
                     std::to_string(load.tasks_executed), std::to_string(load.workers_died), Printable(facts.address)});
    if (row.own == nullptr) continue;
    for (const JobView& job : row.own->jobs) {
      jobs.push_back({Printable(facts.pool_id), std::to_string(job.driver_pid), std::to_string(job.workers),
                      std::to_string(job.tasks_executed), HumanBytes(job.segment_bytes), Printable(job.program)});
    }
  }
  if (!cells.empty()) {
    out += Table({{"POOL", false},
                  {"STATE", false},
                  {"PID", true},
                  {"LEASED", true},
                  {"WORKERS", true},
                  {"MEMORY", true},
                  {"EXECUTED", true},
                  {"DIED", true},
                  {"ADDRESS", false}},
                 cells);
  } else if (!status.clusters.empty()) {
    out += "no pools yet; start one with: sheaf pool start --scheduler " + Printable(status.clusters.front().address) +
           "\n";
  }
  if (!jobs.empty()) {
    out += "\n" + Table({{"JOB ON POOL", false},
                         {"DRIVER", true},
                         {"WORKERS", true},
                         {"EXECUTED", true},
                         {"MEMORY", true},
                         {"PROGRAM", false}},
                        jobs);
  }
  return out;
}

std::string RenderJson(const MachineStatus& status) {
  json out = {{"schema", "sheaf.status.v1"},
              {"schedulers", json::array()},
              {"pools", json::array()},
              {"unreachable", json::array()}};
  for (const ClusterView& cluster : status.clusters) {
    out["schedulers"].push_back({{"address", cluster.address},
                                 {"cluster_id", cluster.cluster_id},
                                 {"epoch", cluster.epoch},
                                 {"pid", cluster.pid},
                                 {"version", cluster.version},
                                 {"uptime_ms", cluster.uptime_ms},
                                 {"trouble", cluster.trouble}});
  }
  for (const Row& row : Merge(status)) out["pools"].push_back(RowJson(row));
  for (const Unreachable& one : status.unreachable) {
    out["unreachable"].push_back({{"address", one.address}, {"reason", one.reason}});
  }
  return out.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace sheaf::cli
