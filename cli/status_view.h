// Turns what schedulers and pools say into one table for people and one JSON document for programs.
//
// Pure functions of values: tested without a daemon.
#pragma once

#include <string>
#include <vector>

#include "scheduler/cluster_view.h"
#include "worker/pool_view.h"

namespace sheaf::cli {

struct Unreachable {
  std::string address, reason;
};

struct MachineStatus {
  std::vector<scheduler::ClusterView> clusters;
  std::vector<PoolView> pools;  // asked directly
  std::vector<Unreachable> unreachable;
};

// For people; the layout may change.
std::string RenderTable(const MachineStatus& status);

// Schema "sheaf.status.v1": {"schema", "schedulers": [...], "pools": [...], "unreachable": [...]}. A pool that both a
// scheduler and its own socket tell of stands there once, with both kinds of fields. Always valid JSON, one line.
std::string RenderJson(const MachineStatus& status);

// "512 MiB", "3.5 GiB".
std::string HumanBytes(std::uint64_t bytes);
// "47 s", "12 min", "3 h 20 min", "5 d 2 h".
std::string HumanDuration(std::uint64_t ms);

}  // namespace sheaf::cli
