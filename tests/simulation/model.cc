#include "tests/simulation/model.h"

#include "base/pair_ring.h"
#include "tests/simulation/processes.h"
#include "tests/simulation/script.h"

namespace sheaf::simulation {

using store::HomeKind;
using store::HomeWord;

Cluster::Cluster(World& the_world, const Options& the_options)
    : world(the_world), options(the_options), pairs(the_options.slots + limits::kPairsSpare) {}
Cluster::~Cluster() = default;

Task& Cluster::NewTask(Client creator, const Plan& plan, std::uint64_t seed, int depth,
                       std::vector<std::uint32_t> dependencies, std::vector<std::uint32_t> refs) {
  auto task = std::make_unique<Task>();
  task->id = static_cast<std::uint32_t>(tasks.size());
  task->creator = creator;
  task->seed = seed;
  task->depth = depth;
  task->plan = plan;
  std::vector<std::uint64_t> given[2];
  for (const auto id : dependencies) given[0].push_back(TaskOf(id).expected);
  for (const auto id : refs) given[1].push_back(TaskOf(id).expected);
  task->expected = ExpectedValue(plan, seed, depth, given[0], given[1]);
  task->dependencies = std::move(dependencies);
  task->refs = std::move(refs);
  tasks.push_back(std::move(task));
  return *tasks.back();
}

Task& Cluster::TaskOf(std::uint32_t id) {
  if (id >= tasks.size()) Fail("an entry names no task");
  return *tasks[id];
}

bool Cluster::Alive(Client client) const {
  const auto at = processes.find(client);
  return at != processes.end() && at->second->alive;
}

bool Cluster::DeadOnPage(Client client) const {
  const auto at = page.find(IndexOf(client));
  return at == page.end() || at->second.first != client || at->second.second != State::kAlive;
}

void Cluster::Fail(const std::string& what) const {
  throw Failure("seed " + std::to_string(options.seed) + " at " + std::to_string(world.now / kMicro) + " us: " + what);
}

Look Probe(Cluster& cluster, Process& reader, std::uint32_t id) {
  Task& task = cluster.TaskOf(id);
  Look look;
  Memory& creator = *cluster.memories.at(task.creator);
  if (creator.forgotten) {
    if (!reader.acknowledged.contains(task.creator)) cluster.Fail("memory was forgotten while a ref to it was held");
    look.what = Look::kLost;
    return look;
  }
  const bool creator_dead = cluster.DeadOnPage(task.creator);
  const std::uint64_t word = task.home.load();
  const HomeWord home = HomeWord::Unpack(word);
  if (home.kind == HomeKind::kValue) {
    look.what = Look::kValue;
    look.error = home.flags & store::kFlagError;
    look.value[0] = task.value[0];
    look.value[1] = task.value[1];
    return look;
  }
  bool ended = false, worker_dead = false;
  Client worker = 0;
  if (home.kind == HomeKind::kBound) {
    const auto entry = cluster.page.find(home.worker);
    worker = entry == cluster.page.end() ? 0 : entry->second.first;
    worker_dead = cluster.DeadOnPage(worker);
    const Memory* memory = worker ? cluster.memories.at(worker).get() : nullptr;
    if (memory && !memory->forgotten) {
      const store::InRegion& in = *memory->ins[home.region];
      ended = in.ended.load() == in.nonce.load();
      const auto& done = home.lane == 0 ? in.done[home.position % limits::kLaneDepth]
                                        : in.urgent_done[home.position % limits::kUrgentDepth];
      std::uint64_t payload[limits::kPayloadInline / 8] = {};
      Ring::Result result;
      const bool read = Ring::ReadForeign(in, done, home.position, task.home, word, task.creator, &result, payload,
                                          6) == Ring::Foreign::kRead;
      if (read && (result.flags & kFlagGivenBack)) {
        if (creator_dead) look.what = Look::kLost;
        return look;
      }
      if (read) {
        look.what = Look::kValue;
        look.error = result.flags & store::kFlagError;
        look.value[0] = payload[0];
        look.value[1] = payload[1];
        return look;
      }
    }
  }
  if (!creator_dead) return look;
  if (home.kind == HomeKind::kBound && !ended && !worker_dead) return look;
  const Client by = task.published_by;
  if (by != 0 && by == worker && !cluster.memories.at(by)->forgotten)
    cluster.Fail("a published value of task " + std::to_string(id) + " was called lost");
  look.what = Look::kLost;
  return look;
}

}  // namespace sheaf::simulation
