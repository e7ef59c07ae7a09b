#include "tests/simulation/run.h"

#include "tests/simulation/processes.h"

namespace sheaf::simulation {

namespace {

constexpr Time kFaultsEnd = 150 * kMilli;
constexpr Time kPatience = 25 * kSecond;  // after this nothing can be under way any more

std::string DescribeAll(const Cluster& cluster) {
  std::string text;
  for (const auto& [id, process] : cluster.processes) {
    if (!process->alive) continue;
    text += "\n  " + std::to_string(id) + (process->executor ? " worker" : " driver") + process->submitter->Describe();
    if (process->executor) text += process->executor->Describe();
    if (process->driver) text += process->driver->Describe();
    if (process->memory->blocked) text += " BLOCKED";
  }
  return text;
}

void Inject(World& world, Cluster& cluster, Pool& pool) {
  const auto kill = [&world, &cluster, &pool](bool worker) {
    std::vector<Client> victims;
    for (const auto& [id, process] : cluster.processes)
      if (process->alive && (process->executor != nullptr) == worker) victims.push_back(id);
    if (!victims.empty()) pool.Kill(victims[world.random.Below(victims.size())]);
  };
  for (int i = 0; i < cluster.options.worker_kills; ++i)
    world.After(world.Chance(kMilli, kFaultsEnd), [kill] { kill(true); });
  for (int i = 0; i < cluster.options.driver_kills; ++i)
    world.After(world.Chance(kMilli, kFaultsEnd), [kill] { kill(false); });
  for (const PlannedKill& planned : cluster.options.kills) {
    world.After(planned.at, [&cluster, &pool, nth = planned.worker] {
      int n = 0;
      for (const auto& [id, process] : cluster.processes)
        if (process->alive && process->executor && n++ == nth) return pool.Kill(id);
    });
  }
  if (cluster.options.spawn_failures > 0)
    world.After(world.Chance(0, kFaultsEnd / 2),
                [&pool, &cluster] { pool.FailSpawns(cluster.options.spawn_failures); });
}

}  // namespace

Options DrawOptions(std::uint64_t seed) {
  Random random(seed ^ 0x5eed);
  Options options;
  options.seed = seed;
  options.slots = static_cast<std::uint32_t>(random.Between(1, 4));
  options.drivers = static_cast<int>(random.Between(1, 3));
  options.tasks = static_cast<int>(random.Between(3, 24));
  options.depth = static_cast<int>(random.Between(0, 3));
  if (!random.OneIn(4)) {
    options.worker_kills = static_cast<int>(random.Below(6));
    options.driver_kills = random.OneIn(4) ? 1 : 0;
    options.spawn_failures = random.OneIn(4) ? static_cast<int>(random.Below(4)) : 0;
  }
  // Deep queues, the usual, or hardly any.
  constexpr std::uint32_t kCosts[] = {2'000, 200'000, 3'000'000};
  options.cost = kCosts[random.Below(std::size(kCosts))];
  return options;
}

Outcome RunOnce(const Options& options) {
  World world(options.seed);
  world.tracing = options.trace;
  Cluster cluster(world, options);
  cluster.faults = options.worker_kills + options.driver_kills > 0 || !options.kills.empty();
  Pool pool(cluster);
  Outcome outcome;
  try {
    Inject(world, cluster, pool);
    for (int i = 0; i < options.drivers; ++i)
      world.After(world.Chance(1, 20 * kMilli), [&pool] { pool.StartDriver(); });
    const auto over = [&] {
      if (static_cast<int>(pool.core().clients().size()) > 0) return false;
      int drivers = 0;
      for (const auto& [id, process] : cluster.processes) drivers += process->driver != nullptr;
      return drivers == options.drivers;
    };
    while (!over()) {
      if (!world.Step()) cluster.Fail("nothing is left to happen, and not everything is done" + DescribeAll(cluster));
      if (world.now > kPatience) cluster.Fail("not everything gets done" + DescribeAll(cluster));
    }
    if (!pool.leases().clients().empty() || !pool.leases().pairs().empty() || !pool.leases().spawns().empty())
      cluster.Fail("the lease core remembers what has ended");
    if (pool.core().used_bytes() != 0) cluster.Fail("memory is still accounted for after the last client");
  } catch (const Failure& failure) {
    outcome.failure = failure.what();
  }
  outcome.trace = std::move(world.trace);
  outcome.digest = world.digest.value();
  outcome.steps = world.steps;
  outcome.delivered = cluster.delivered;
  outcome.errors = cluster.errors;
  outcome.ended = world.now;
  return outcome;
}

}  // namespace sheaf::simulation
