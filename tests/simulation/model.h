// What the simulated processes share: tasks with their home words, control segments, and who is
// alive.
//
// Control segments hold the real structs of object_store/segment_layout.h and are driven by the
// real ring code of base/pair_ring.h. A task stands for its record, its home slot and its creator's
// private bookkeeping, and carries what only the simulation knows: how often it ran, and what its
// value must be.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "object_store/segment_layout.h"
#include "runtime/dispatch_core.h"
#include "tests/simulation/script.h"
#include "tests/simulation/world.h"

namespace sheaf::simulation {

using Client = std::uint32_t;

// Ways to go wrong that the simulation must notice, and older rules that it has shown to be wrong.
enum class Bug {
  kNone,
  kBlockedKeepsSlot,       // lease core: a worker inside Get still counts
  kWantLostWhileSpawning,  // lease core: a wish is dropped while a process is being started
  kRegionFreedAtDeath,     // lease core: results for a dead submitter are written over
  kRunsClaimedAgain,       // submitter: what a dead worker had claimed counts as not begun
  kForgetsPublished,       // submitter: results of a dead worker are not consumed
  kUrgentOnTop,            // worker: inside Get it runs any urgent task on top of the waiting one
  kIdleKeepsBacklog,       // worker: between tasks it does not run what it has submitted itself
  kDrainsAtOnce,           // worker: asked to stop, it leaves its own tasks behind
  kHeadBlocks,             // worker: waits for the inputs of one head and looks at no other
  kNoRecallOfStarved,      // submitter: leaves tasks behind an entry that waits for a task of its own process
  kNoRecallOfBlocked,      // submitter: leaves tasks behind a worker that waits inside Get
  kRetryBehindConsumers,   // submitter: what comes back goes to an ordinary lane, whether its inputs are there or not
};

// A task that a scenario prescribes.
struct PlannedTask {
  Plan plan;
  std::vector<std::uint32_t> dependencies, refs;  // earlier tasks of the driver
  Time after = 0;                                 // submitted so much after the one before
};
struct PlannedKill {
  Time at = 0;
  int worker = 0;  // the n-th of those alive
};

struct Options {
  std::uint64_t seed = 1;
  std::uint32_t slots = 2, extra_workers = 64;
  int drivers = 1, tasks = 20, depth = 2;
  std::uint32_t cost = 200'000;  // nanoseconds that submitters expect of every task, right or wrong
  int worker_kills = 0, driver_kills = 0, spawn_failures = 0;
  Bug bug = Bug::kNone;
  bool trace = false;
  std::vector<PlannedTask> plan;  // instead of random tasks
  std::vector<PlannedKill> kills;
};

enum class Phase { kBacklog, kPushed, kInline, kReady };
inline constexpr std::uint32_t kFlagGivenBack = 32;  // a completion without a result: the worker must not run it now

struct Task {
  std::uint32_t id = 0;
  Client creator = 0;
  std::uint64_t seed = 0, expected = 0;
  int depth = 0;
  Plan plan;
  std::vector<std::uint32_t> dependencies, refs;  // awaited before it runs; passed through
  // Home slot.
  std::atomic<std::uint64_t> home{store::HomeWord{store::HomeKind::kPending}.Pack()};
  std::uint64_t value[2] = {};
  // The creator's own.
  Phase phase = Phase::kBacklog;
  int retries = 3, charged = 0;
  int pair = runtime::DispatchCore::kNone;  // where it was pushed last
  Time due = 0;
  // The simulation's.
  int runs = 0;
  Client running_on = 0, published_by = 0;
};

struct Memory {
  std::vector<std::unique_ptr<store::OutRegion>> outs;
  std::vector<std::unique_ptr<store::InRegion>> ins;
  std::atomic<std::uint32_t> blocked{0}, starved{0}, executing{0};
  bool forgotten = false;
};

enum class State { kAlive, kDead, kFree };  // as the control page shows it

class Submitter;
class Executor;
class Driver;

struct Process {
  Client id = 0, job = 0;
  bool alive = true;
  Time cut = 0;  // of what it had sent, this much still arrives after its death
  Memory* memory = nullptr;
  std::unique_ptr<Submitter> submitter;
  std::unique_ptr<Executor> executor;
  std::unique_ptr<Driver> driver;
  std::multiset<std::uint32_t> refs;  // tasks of others that it may still look at
  std::set<Client> gone, acknowledged;
  Time last_sent = 0, last_received = 0;
};

struct Cluster {
  Cluster(World& the_world, const Options& the_options);
  ~Cluster();

  Task& NewTask(Client creator, const Plan& plan, std::uint64_t seed, int depth,
                std::vector<std::uint32_t> dependencies, std::vector<std::uint32_t> refs);
  Task& TaskOf(std::uint32_t id);
  Process& ProcessOf(Client client) { return *processes.at(client); }
  bool Alive(Client client) const;
  bool DeadOnPage(Client client) const;
  void Fail(const std::string& what) const;

  World& world;
  const Options options;
  std::uint32_t pairs;
  std::vector<std::unique_ptr<Task>> tasks;
  std::map<Client, std::unique_ptr<Process>> processes;
  std::map<Client, std::unique_ptr<Memory>> memories;  // outlive their processes
  std::map<std::uint32_t, std::pair<Client, State>> page;
  class Pool* pool = nullptr;
  bool faults = false;  // results may be errors
  std::uint64_t errors = 0, delivered = 0;
};

// The value of an object as `reader` finds it: runtime/prober.cc, on simulated memory.
struct Look {
  enum { kPending, kValue, kLost } what = kPending;
  bool error = false;
  std::uint64_t value[2] = {};
};
Look Probe(Cluster& cluster, Process& reader, std::uint32_t task);

}  // namespace sheaf::simulation
