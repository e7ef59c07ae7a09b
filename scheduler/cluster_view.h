// A cluster as its scheduler sees it, as a plain value: what viewers show.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "scheduler/node_table.h"

namespace sheaf::scheduler {

struct PoolRow {
  PoolIdentity pool;
  PoolLoad load;
  Standing standing = Standing::kAlive;
  std::uint64_t silent_ms = 0;
};

struct ClusterView {
  std::string cluster_id;
  std::uint64_t epoch = 0;
  std::uint32_t pid = 0;
  std::string address;
  std::string version;
  std::uint64_t uptime_ms = 0;
  std::string trouble;  // empty, or why new pools are turned away now
  std::vector<PoolRow> pools;
};

}  // namespace sheaf::scheduler
