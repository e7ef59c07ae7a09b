// What a pool shows of itself: to `sheaf status` over its own socket, and to the scheduler with each heartbeat.
//
// A plain value, copied out of the pool's thread; nobody holds a pointer into the pool through it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "scheduler/placement_core.h"

namespace sheaf {

// One job served by the pool: a driver and the workers that run its program.
struct JobView {
  std::uint32_t driver_pid = 0;
  std::string program;  // path of the executable, shortened by the pool to at most 256 bytes
  std::uint32_t workers = 0;
  std::uint64_t tasks_executed = 0;
  std::uint64_t segment_bytes = 0;
};

struct PoolView {
  std::string pool_id;            // stable over restarts of the pool under one supervisor
  std::uint64_t incarnation = 0;  // grows at each start of the pool process
  std::uint32_t pid = 0;
  std::uint32_t supervisor_pid = 0;
  std::string address;    // path of the pool's unix socket
  std::string machine;    // host name
  std::string scheduler;  // empty: the pool serves its machine alone
  bool draining = false;
  std::uint64_t uptime_ms = 0;
  int slots = 0;
  int slots_leased = 0;
  int workers_running = 0;
  int workers_idle = 0;
  int clients = 0;
  std::uint64_t segment_bytes = 0;  // shared memory that the pool has lent or keeps
  std::uint64_t budget_bytes = 0;
  std::uint64_t tasks_executed = 0;
  std::uint64_t workers_died = 0;
  std::vector<JobView> jobs;
  // For the scheduler alone, not in the JSON.
  scheduler::PoolOffer offer;
  scheduler::PoolReport report;
};

// Jobs beyond this many are left out of the JSON, which says so in `jobs_total`; the text stays below 60 KB.
inline constexpr std::size_t kJobsShownMax = 100;

// One JSON object, schema "sheaf.pool.v1", no newline.
std::string ToJson(const PoolView& view);

// Reads what ToJson wrote. nullopt for anything else; never throws.
std::optional<PoolView> PoolViewFromJson(std::string_view json);

}  // namespace sheaf
