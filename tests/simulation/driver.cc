#include "tests/simulation/processes.h"

namespace sheaf::simulation {

Driver::Driver(Cluster& cluster, Process& self)
    : cluster_(cluster),
      self_(self),
      random_(cluster.world.random.Split()),
      left_(cluster.options.plan.empty() ? cluster.options.tasks : 0) {}

std::optional<Time> Driver::Step() {
  const auto some = [&](const std::vector<std::uint32_t>& from) { return from[random_.Below(from.size())]; };
  const auto& plan = cluster_.options.plan;
  if (next_planned_ < plan.size()) {
    const PlannedTask& planned = plan[next_planned_++];
    std::vector<std::uint32_t> awaits, passes;
    for (const auto index : planned.dependencies) awaits.push_back(known_[index]);
    for (const auto index : planned.refs) passes.push_back(known_[index]);
    Task& task = cluster_.NewTask(self_.id, planned.plan, next_planned_, 0, awaits, passes);
    open_.push_back(task.id);
    known_.push_back(task.id);
    self_.submitter->Submit(task);
    return next_planned_ < plan.size() ? plan[next_planned_].after + 1 : 1;
  }
  if (left_ > 0 && (open_.empty() || random_.OneIn(2) || open_.size() < 4)) {
    --left_;
    std::vector<std::uint32_t> awaits, passes;
    if (!known_.empty() && random_.OneIn(2)) awaits.push_back(some(known_));
    if (!known_.empty() && random_.OneIn(2)) passes.push_back(some(known_));
    Task& task = cluster_.NewTask(self_.id, nullptr, random_.Next(), cluster_.options.depth, awaits, passes);
    if (random_.OneIn(6)) task.retries = 0;
    open_.push_back(task.id);
    known_.push_back(task.id);
    self_.submitter->Submit(task);
    return random_.Between(1, 200 * kMicro);
  }
  if (open_.empty()) {
    if (self_.submitter->outstanding() > 0) return 100 * kMicro;  // what came back only as a ref
    done_ = true;
    cluster_.pool->Leave(self_);
    return std::nullopt;
  }
  // Awaits one, in no particular order, and goes on with it until it is there.
  if (awaited_ >= open_.size()) awaited_ = random_.Below(open_.size());
  self_.submitter->Pump();
  const std::uint32_t object = open_[awaited_];
  const Look look = Probe(cluster_, self_, object);
  if (look.what == Look::kPending) return random_.Between(10 * kMicro, 200 * kMicro);
  const Task& task = cluster_.TaskOf(object);
  const bool error = look.what == Look::kLost || look.error;
  if (!error && look.value[0] != task.expected) cluster_.Fail("a wrong value was read");
  if (error && !cluster_.faults)
    cluster_.Fail("object " + std::to_string(object) + " was lost though nothing had died");
  cluster_.world.Note("got", self_.id, object, error);
  open_.erase(open_.begin() + static_cast<std::ptrdiff_t>(awaited_));
  awaited_ = ~std::size_t{0};
  if (!error && look.value[1] != 0) {
    // A ref came back: it is awaited too, and given to later tasks.
    const auto child = static_cast<std::uint32_t>(look.value[1] - 1);
    open_.push_back(child);
    known_.push_back(child);
    self_.refs.insert(child);
  }
  return random_.Between(1, 50 * kMicro);
}

std::string Driver::Describe() const {
  std::string text = " left " + std::to_string(left_) + " open";
  for (const auto id : open_) text += " " + std::to_string(id);
  return text;
}

}  // namespace sheaf::simulation
