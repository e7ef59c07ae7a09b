// Pools, jobs and grants of a cluster as tables for people and as JSON documents for programs.
//
// Pure functions of values: tested without a daemon. A document is one line and valid whatever happened; the lists of one
// that could not be answered are empty and `unreachable` says why.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "scheduler/cluster_view.h"
#include "scheduler/placement_why.h"

namespace sheaf::cli {

enum class Kind { kPools, kJobs, kGrants };

// A job's name: POOL/NUMBER.
struct JobName {
  std::string pool;
  std::uint64_t number = 0;
};
std::optional<JobName> ParseJobName(const std::string& text);

// What was asked, when nobody answered.
struct NoAnswer {
  std::string address, reason;
};

std::string ListTable(Kind kind, const scheduler::ClusterView& view);
std::string ListJson(Kind kind, const scheduler::ClusterView& view, const NoAnswer* none = nullptr);

// Empty: there is none of that name.
std::string PoolTable(const scheduler::ClusterView& view, const std::string& pool);
std::string JobTable(const scheduler::ClusterView& view, const JobName& job);
// "pool" or "job" is null if there is none of that name.
std::string PoolJson(const scheduler::ClusterView& view, const std::string& pool, const NoAnswer* none = nullptr);
std::string JobJson(const scheduler::ClusterView& view, const JobName& job, const NoAnswer* none = nullptr);

// Why there is nothing to show of a job.
std::string NoSuchJob(const scheduler::ClusterView& view, const JobName& job);

std::string WhyText(const scheduler::Explanation& why);
std::string WhyJson(const scheduler::ClusterView& view, const JobName& job,
                    const std::optional<scheduler::Explanation>& why, const NoAnswer* none = nullptr);

}  // namespace sheaf::cli
