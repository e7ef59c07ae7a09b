// What must survive the scheduler, behind one interface: the cluster's id, its epoch, the pools that are members, the grants
// in force.
//
// Calls block until the change is durable and come from one thread, the store's own. Nothing here throws; every
// failure is a kind that the caller can act on, with a sentence that says what to do.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "scheduler/placement_core.h"

namespace sheaf::scheduler {

enum class StateFault {
  kNone,
  kBusy,     // another scheduler uses the same state
  kCorrupt,  // not readable as what it should be
  kTooNew,   // written by a later version
  kFull,     // no room; what was there before is intact
  kDenied,   // no permission, or no such directory
  kInputOutput,
};

struct StateStatus {
  StateFault fault = StateFault::kNone;
  std::string message;
  bool ok() const { return fault == StateFault::kNone; }
};

struct OpenedState {
  std::string cluster_id;   // 32 hexadecimal digits, made at the first start
  std::uint64_t epoch = 0;  // above that of every start before and of every grant; durable before Open returns
  std::vector<PoolIdentity> pools;
  std::vector<GrantRecord> grants;  // all of earlier epochs
};

class StateStore {
 public:
  virtual ~StateStore() = default;
  virtual StateStatus Open(OpenedState* state) = 0;
  virtual StateStatus PutPool(const PoolIdentity& pool) = 0;
  virtual StateStatus ErasePool(std::string_view pool_id) = 0;
  // All of it or nothing.
  virtual StateStatus ChangeGrants(const std::vector<GrantRecord>& put, const std::vector<std::uint64_t>& erase) = 0;
};

}  // namespace sheaf::scheduler
