// A cluster as its scheduler sees it, as a plain value: what viewers show.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "scheduler/placement_core.h"

namespace sheaf::scheduler {

struct PoolRow {
  PoolIdentity pool;
  PoolLoad load;
  Standing standing = Standing::kAlive;
  std::uint64_t silent_ms = 0;
  // The rest is known of living pools, if it was asked for.
  bool draining = false;
  PoolOffer offer;
  std::uint64_t own_milli = 0, lent_milli = 0;
  Resources lent;  // and what its own jobs hold
};

// A job's number, as its pool gives it to the scheduler: what of it needs more than CPUs has a shape in the upper half
// (docs/decisions/0010), and is written 4096.1.
inline std::string JobText(std::uint64_t job) {
  const std::uint64_t shape = job >> 32;
  return std::to_string(static_cast<std::uint32_t>(job)) + (shape ? "." + std::to_string(shape) : "");
}

// A job that wants or holds slots of other pools. Its name for people is POOL/NUMBER.
struct JobRow {
  std::string pool;
  std::uint64_t job = 0;
  LeaseWant want;  // without its bytes
  std::uint32_t holds = 0;
  std::uint64_t waiting_ms = 0;  // since when it wants more than it holds
  bool expected = false;         // its pool has not reported since the scheduler's restart: its want is not known
};

struct GrantRow {
  std::uint64_t id = 0;
  std::string borrower;
  std::uint64_t borrower_incarnation = 0, job = 0;
  std::string lender;
  std::uint64_t lender_incarnation = 0;
  std::uint32_t slots = 0, cpus_milli = 0;
  std::uint64_t age_ms = 0;
  bool expected = false;  // granted before the scheduler's restart; its borrower has not reported since
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
  bool placement = false;  // what follows was asked for, and answered
  std::vector<JobRow> jobs;
  std::vector<GrantRow> grants;
  std::uint64_t left_out = 0;  // rows for which an answer of bounded size had no room
};

inline const char* NameOf(Standing standing) {
  switch (standing) {
    case Standing::kAlive:
      return "alive";
    case Standing::kExpected:
      return "expected";
    case Standing::kLost:
      return "lost";
    case Standing::kLeft:
      return "left";
  }
  return "unknown";
}

}  // namespace sheaf::scheduler
