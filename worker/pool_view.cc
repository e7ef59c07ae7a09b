#include "worker/pool_view.h"

#include <nlohmann/json.hpp>

#include <algorithm>

namespace sheaf {
namespace {

using nlohmann::json;

constexpr std::string_view kSchema = "sheaf.pool.v1";

template <class T>
bool Read(const json& object, const char* key, T* to) {
  const auto found = object.find(key);
  if (found == object.end()) return true;  // an older pool: the field keeps its default
  if constexpr (std::is_same_v<T, std::string>) {
    if (!found->is_string()) return false;
  } else if constexpr (std::is_same_v<T, bool>) {
    if (!found->is_boolean()) return false;
  } else {
    if (!found->is_number_integer()) return false;
  }
  *to = found->template get<T>();
  return true;
}

json JobJson(const JobView& job) {
  return {{"driver_pid", job.driver_pid},
          {"program", job.program},
          {"workers", job.workers},
          {"tasks_executed", job.tasks_executed},
          {"segment_bytes", job.segment_bytes}};
}

}  // namespace

std::string ToJson(const PoolView& view) {
  json jobs = json::array();
  for (std::size_t i = 0; i < std::min(view.jobs.size(), kJobsShownMax); ++i) {
    jobs.push_back(JobJson(view.jobs[i]));
  }
  const json out = {{"schema", kSchema},
                    {"pool_id", view.pool_id},
                    {"incarnation", view.incarnation},
                    {"pid", view.pid},
                    {"supervisor_pid", view.supervisor_pid},
                    {"address", view.address},
                    {"machine", view.machine},
                    {"scheduler", view.scheduler},
                    {"draining", view.draining},
                    {"uptime_ms", view.uptime_ms},
                    {"slots", view.slots},
                    {"slots_leased", view.slots_leased},
                    {"workers_running", view.workers_running},
                    {"workers_idle", view.workers_idle},
                    {"clients", view.clients},
                    {"segment_bytes", view.segment_bytes},
                    {"budget_bytes", view.budget_bytes},
                    {"tasks_executed", view.tasks_executed},
                    {"workers_died", view.workers_died},
                    {"jobs_total", view.jobs.size()},
                    {"jobs", jobs}};
  // A program's path may be any bytes: what is not UTF-8 is replaced, so that the text is always valid JSON.
  return out.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::optional<PoolView> PoolViewFromJson(std::string_view text) {
  const json in = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!in.is_object()) return std::nullopt;
  std::string schema;
  if (!Read(in, "schema", &schema) || schema != kSchema) return std::nullopt;
  PoolView view;
  const bool ok = Read(in, "pool_id", &view.pool_id) && Read(in, "incarnation", &view.incarnation) &&
                  Read(in, "pid", &view.pid) && Read(in, "supervisor_pid", &view.supervisor_pid) &&
                  Read(in, "address", &view.address) && Read(in, "machine", &view.machine) &&
                  Read(in, "scheduler", &view.scheduler) && Read(in, "draining", &view.draining) &&
                  Read(in, "uptime_ms", &view.uptime_ms) && Read(in, "slots", &view.slots) &&
                  Read(in, "slots_leased", &view.slots_leased) && Read(in, "workers_running", &view.workers_running) &&
                  Read(in, "workers_idle", &view.workers_idle) && Read(in, "clients", &view.clients) &&
                  Read(in, "segment_bytes", &view.segment_bytes) && Read(in, "budget_bytes", &view.budget_bytes) &&
                  Read(in, "tasks_executed", &view.tasks_executed) && Read(in, "workers_died", &view.workers_died);
  if (!ok) return std::nullopt;
  const auto jobs = in.find("jobs");
  if (jobs == in.end()) return view;
  if (!jobs->is_array() || jobs->size() > kJobsShownMax) return std::nullopt;
  for (const json& entry : *jobs) {
    JobView job;
    if (!entry.is_object() || !Read(entry, "driver_pid", &job.driver_pid) || !Read(entry, "program", &job.program) ||
        !Read(entry, "workers", &job.workers) || !Read(entry, "tasks_executed", &job.tasks_executed) ||
        !Read(entry, "segment_bytes", &job.segment_bytes)) {
      return std::nullopt;
    }
    view.jobs.push_back(std::move(job));
  }
  return view;
}

}  // namespace sheaf
