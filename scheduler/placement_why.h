// Why a job has no (more) slots on other pools, in sentences: from what the placement core decides by, as viewers get it.
//
// A pure function: it says what the core has done and would do with this state, and decides nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "scheduler/cluster_view.h"

namespace sheaf::scheduler {

enum class Reason {
  kPoolGone,      // its own pool is lost, has left or was not heard of since the scheduler's restart
  kPoolDrains,    // its own pool was asked to end
  kWantsNothing,  // it wants nothing elsewhere
  kGranted,       // it has all that it wants
  kInfeasible,    // no other pool has what it wants, busy or not
  kPoolLimit,     // its pool holds as many grants as one pool may
  kFairShare,     // what it wants is in use by jobs that have no more than it has
  kNobodyFree,    // what it wants is in use
  kNext,          // there is room: it gets it when its pool reports next
};
const char* NameOf(Reason reason);  // one word, for programs

struct Explanation {
  Reason reason = Reason::kWantsNothing;
  std::vector<std::string> sentences;
};

// `view` is one with placement. nullopt: no pool has that name, or it tells of no such job: whether one runs there that wants
// nothing from others is known to that pool alone.
std::optional<Explanation> Why(const ClusterView& view, const std::string& pool, std::uint64_t job);

// What one slot needs: "1 CPU", "0.5 CPUs, 1 gpu, disk=fast".
std::string NeedsOf(const LeaseWant& want);
// What the job holds: "4 on b, 2 on a"; empty if nothing.
std::string HoldsOf(const ClusterView& view, const std::string& pool, std::uint64_t job);

}  // namespace sheaf::scheduler
