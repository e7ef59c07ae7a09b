// The deadlocks that the rules of docs/dispatch.md avoid, each as a small program: it ends under the rules, for every
// seed of the delays, and it hangs as soon as the rule is broken.
#include <gtest/gtest.h>

#include "tests/simulation/run.h"

namespace sheaf::simulation {
namespace {

Op Compute(Time time) {
  Op op;
  op.time = time;
  return op;
}
Op Submit(std::uint32_t index, Plan plan) {
  Op op;
  op.kind = Op::kSubmit;
  op.seed = 100 + index;
  op.index = index;
  op.plan = std::move(plan);
  return op;
}
Op GetChild(std::uint32_t index) {
  Op op;
  op.kind = Op::kGetChild;
  op.index = index;
  return op;
}
Op GetRef(std::uint32_t index) {
  Op op;
  op.kind = Op::kGetRef;
  op.index = index;
  return op;
}
Plan Do(std::vector<Op> ops) { return std::make_shared<const std::vector<Op>>(std::move(ops)); }

constexpr int kSeeds = 50;

void ExpectOnlyTheRuleSaves(Options options, Bug broken) {
  int hangs = 0;
  for (int seed = 1; seed <= kSeeds; ++seed) {
    options.seed = static_cast<std::uint64_t>(seed);
    options.bug = Bug::kNone;
    ASSERT_EQ(RunOnce(options).failure, "");
    if (hangs > 0) continue;
    options.bug = broken;
    hangs += RunOnce(options).failure.find("not everything gets done") != std::string::npos;
  }
  EXPECT_GT(hangs, 0) << "the scenario does not need the rule";
}

// A parent that has a child in another worker's ring. The first child is there to have the pair opened.
Plan ParentWithAChildElsewhere() {
  return Do({Submit(0, Do({Compute(kMicro)})), GetChild(0), Compute(30 * kMilli), Submit(1, Do({Compute(kMicro)})),
             GetChild(1)});
}

std::vector<PlannedTask> WithTwoWorkersUp() {
  const Plan nothing = Do({Compute(kMicro)});
  return {{nothing, {}, {}, 0}, {nothing, {}, {}, 0}};
}

TEST(Deadlock, AHeadThatWaitsKeepsNoOtherRingWaiting) {
  Options options;
  options.slots = 2;
  options.plan = WithTwoWorkersUp();
  options.plan.push_back({ParentWithAChildElsewhere(), {}, {}, 60 * kMilli});
  options.plan.push_back({Do({Compute(kMicro)}), {}, {}, 0});  // to the other worker
  options.plan.push_back(
      {Do({Compute(kMicro)}), {2, 3}, {}, 0});  // after it, for the parent's result: heads the other ring
  ExpectOnlyTheRuleSaves(options, Bug::kHeadBlocks);
}

TEST(Deadlock, ARetriedProducerDoesNotQueueBehindItsConsumers) {
  Options options;
  options.slots = 1;
  options.plan = {{Do({Compute(60 * kMilli)}), {}, {}, 0},
                  {Do({Compute(kMicro)}), {0}, {}, 0},
                  {Do({Compute(kMicro)}), {0}, {}, 0}};
  options.kills = {{50 * kMilli, 0}};
  ExpectOnlyTheRuleSaves(options, Bug::kRetryBehindConsumers);
}

TEST(Deadlock, WorkersThatAllWaitLeaveASlotForWhatTheyWaitFor) {
  Options options;
  options.slots = 1;
  options.plan = {{Do({Compute(60 * kMilli)}), {}, {}, 0},
                  {Do({Compute(kMicro)}), {0}, {}, 0},  // not ready when its worker dies: who waits for it passes it
                  {Do({GetRef(0)}), {}, {1}, 0}};
  options.kills = {{50 * kMilli, 0}};
  ExpectOnlyTheRuleSaves(options, Bug::kBlockedKeepsSlot);
}

TEST(Deadlock, AChildIsTakenBackFromBehindATaskThatWaitsForItsParent) {
  Options options;
  options.slots = 2;
  options.plan = WithTwoWorkersUp();
  options.plan.push_back({ParentWithAChildElsewhere(), {}, {}, 60 * kMilli});
  options.plan.push_back({Do({Compute(20 * kMilli), GetRef(0)}), {}, {2}, 25 * kMilli});
  ExpectOnlyTheRuleSaves(options, Bug::kNoRecallOfBlocked);
}

// Seeds rather than a program: these need more to come together than one would write down.
void ExpectHangsInSomeSeed(Bug broken) {
  int hangs = 0;
  for (std::uint64_t seed = 1; seed <= 5000 && hangs == 0; ++seed) {
    Options options = DrawOptions(seed);
    options.bug = broken;
    hangs += RunOnce(options).failure.find("not everything gets done") != std::string::npos;
  }
  EXPECT_GT(hangs, 0);
}

// What the simulation has taught: a parent runs its first child inline, and the second, which awaits the first, already
// heads the other worker's ring; the grandchild that the first waits for lands behind it.
TEST(Deadlock, AGrandchildIsTakenBackFromBehindAnEntryThatAwaitsItsParent) {
  ExpectHangsInSomeSeed(Bug::kNoRecallOfStarved);
}

// What the simulation has taught: inside Get a worker runs nothing but its own children. Something newer on top of a
// waiting task may itself wait for that task, which then cannot go on.
TEST(Deadlock, NothingRunsOnTopOfATaskThatItMayWaitFor) { ExpectHangsInSomeSeed(Bug::kUrgentOnTop); }

TEST(Deadlock, AWorkerWithoutOtherWorkRunsWhatItsTasksHaveSubmitted) {
  Op returned;
  returned.kind = Op::kReturnChild;
  Options options;
  options.slots = 1;
  options.plan = {{Do({Submit(0, Do({Compute(kMicro)})), returned}), {}, {}, 0}};
  ExpectOnlyTheRuleSaves(options, Bug::kIdleKeepsBacklog);
}

}  // namespace
}  // namespace sheaf::simulation
