// What tasks need besides CPUs: crews, custom resources and labels. Single-threaded, the time is told.
#include <gtest/gtest.h>

#include "tests/scheduler/lease_pool.h"

namespace sheaf::lease {
namespace {

Needs Gpus(std::uint64_t milli) { return {{{"gpu", milli}}, {}}; }

TEST(Lease, GivesAShapeWorkersOfItsOwnAndNoMoreThanItsResource) {
  LeaseCore::Config config;
  config.has = Gpus(2000);
  Pool pool(4, config);
  const Client job = pool.StartJob();
  pool.Tell(ShapeNamed{job, 1, Gpus(1000)});
  pool.Tell(Want{job, 4, 1000, 0, 1});
  EXPECT_EQ(pool.spawns().size(), 2u);
  const auto gpu_workers = pool.Ready();
  pool.Tell(Want{job, 4});
  const auto others = pool.Ready();
  EXPECT_EQ(others.size(), 2u);
  EXPECT_EQ(pool.WorkersOf(job).size(), 4u);
  EXPECT_EQ(pool.core().Held("gpu"), 2000u);
  for (const Client worker : gpu_workers) EXPECT_EQ(pool.core().clients().at(worker).shape, 1u);
  for (const Client worker : others) EXPECT_EQ(pool.core().clients().at(worker).shape, 0u);
}

TEST(Lease, CountsFractionsOfAResourceExactly) {
  LeaseCore::Config config;
  config.has = Gpus(1000);
  Pool pool(16, config);
  const Client job = pool.StartJob();
  pool.Tell(ShapeNamed{job, 1, Gpus(333)});
  pool.Tell(Want{job, 16, 1000, 0, 1});
  EXPECT_EQ(pool.spawns().size(), 3u);
}

TEST(Lease, RefusesAShapeThatTheMachineHasNotAndNothingElse) {
  LeaseCore::Config config;
  config.has = {{{"gpu", 1000}}, {"zone=a"}};
  Pool pool(2, config);
  const Client job = pool.StartJob();
  pool.Tell(ShapeNamed{job, 1, Gpus(1001)});
  pool.Tell(ShapeNamed{job, 2, {{}, {"zone=b"}}});
  pool.Tell(Want{job, 1});
  pool.Tell(Want{job, 1, 1000, 0, 1});
  pool.Tell(Want{job, 1, 1000, 0, 2});
  ASSERT_EQ(pool.refused.size(), 2u);
  EXPECT_EQ(pool.refused[0].shape, 1u);
  EXPECT_EQ(pool.refused[1].shape, 2u);
  EXPECT_EQ(pool.refused[1].reason, Reason::kInfeasible);
  EXPECT_EQ(pool.spawns().size(), 1u);
}

TEST(Lease, AsksOtherMachinesAtOnceForWhatThisOneHasNot) {
  LeaseCore::Config config;
  config.clustered = true;
  Pool pool(2, config);
  const Client job = pool.StartJob();
  pool.Tell(ShapeNamed{job, 1, Gpus(1000)});
  pool.Tell(Want{job, 3, 1000, 0, 1});
  EXPECT_TRUE(pool.refused.empty());
  EXPECT_TRUE(pool.spawns().empty());
  EXPECT_EQ(pool.core().Elsewhere({job, 1}), 3u);
  EXPECT_EQ(pool.core().Elsewhere({job, 0}), 0u);
}

TEST(Lease, ConnectsARelayWithTheTasksOfItsShapeOnly) {
  LeaseCore::Config config;
  config.clustered = true;
  Pool pool(2, config);
  const Client job = pool.StartJob();
  pool.Tell(ShapeNamed{job, 1, Gpus(1000)});
  pool.Tell(RelayReady{100, job, 4, 1000, 1});
  pool.Tell(Want{job, 0, 1000, 2, 0});
  EXPECT_TRUE(pool.WorkersOf(job).empty());
  pool.Tell(Want{job, 0, 1000, 2, 1});
  EXPECT_EQ(pool.WorkersOf(job), std::vector<Client>{100});
}

TEST(Lease, StopsAnIdleWorkerWhoseResourceAnotherJobWaitsFor) {
  LeaseCore::Config config;
  config.has = Gpus(1000);
  Pool pool(4, config);
  const Client first = pool.StartJob(), second = pool.StartJob();
  pool.Tell(ShapeNamed{first, 1, Gpus(1000)});
  pool.Tell(ShapeNamed{second, 1, Gpus(1000)});
  pool.Tell(Want{first, 1, 1000, 0, 1});
  const auto workers = pool.Ready();
  pool.Tell(Want{first, 0, 1000, 0, 1});
  EXPECT_TRUE(pool.stopped.empty());  // warm, in nobody's way
  pool.Tell(Want{second, 1, 1000, 0, 1});
  EXPECT_EQ(pool.stopped, workers);
  EXPECT_TRUE(pool.spawns().empty());  // not before it is gone
  pool.Die(workers[0]);
  EXPECT_EQ(pool.spawns().size(), 1u);
}

TEST(Lease, LetsCrewsTakeTurnsWhereTheResourceSufficesForOne) {
  LeaseCore::Config config;
  config.has = Gpus(1000);
  Pool pool(4, config);
  const Client job = pool.StartJob();
  pool.Tell(ShapeNamed{job, 1, Gpus(1000)});
  pool.Tell(ShapeNamed{job, 2, {{{"gpu", 1000}}, {}}});
  pool.Tell(Want{job, 1, 1000, 0, 1});
  const auto first = pool.Ready();
  pool.Tell(Want{job, 1, 1000, 0, 2});
  EXPECT_TRUE(pool.stopped.empty());
  pool.Pass(3 * kSecond);
  EXPECT_EQ(pool.stopped, first);
  pool.Die(first[0]);
  const auto second = pool.Ready();
  ASSERT_EQ(second.size(), 1u);
  EXPECT_EQ(pool.core().clients().at(second[0]).shape, 2u);
}

TEST(Lease, LeavesAResourceWithWhoeverWaitsInsideGetAndRefusesWhatOnlyItsEndCouldBring) {
  LeaseCore::Config config;
  config.has = Gpus(1000);
  Pool pool(2, config);
  const Client job = pool.StartJob();
  pool.Tell(ShapeNamed{job, 1, Gpus(1000)});
  pool.Tell(Want{job, 1, 1000, 0, 1});
  const Client outer = pool.Ready().at(0);
  pool.Tell(Blocked{outer, true});
  pool.Tell(Want{outer, 1});  // a child without a GPU gets its CPU
  const Client inner = pool.Ready().at(0);
  pool.Tell(Want{outer, 0});
  pool.Tell(Want{outer, 1, 1000, 0, 1});  // a child with one never could
  EXPECT_TRUE(pool.spawns().empty());
  pool.Pass(11 * kSecond);
  EXPECT_TRUE(pool.refused.empty());  // what `inner` runs might end the wait
  EXPECT_EQ(pool.stopped, std::vector{inner});
  pool.Die(inner);
  pool.Pass(11 * kSecond);
  ASSERT_FALSE(pool.refused.empty());
  EXPECT_EQ(pool.refused[0].reason, Reason::kLimit);
}

TEST(Lease, RefusesWhatOnlyTheEndOfOthersWaitingForLessCouldBring) {
  LeaseCore::Config config;
  config.has = Gpus(1000);
  Pool pool(2, config);
  const Client job = pool.StartJob();
  pool.Tell(ShapeNamed{job, 1, Gpus(500)});
  pool.Tell(ShapeNamed{job, 2, Gpus(1000)});
  pool.Tell(Want{job, 1, 1000, 0, 1});
  const Client outer = pool.Ready().at(0);
  pool.Tell(Want{job, 0, 1000, 0, 1});
  pool.Tell(Blocked{outer, true});
  pool.Tell(Want{outer, 1, 1000, 0, 2});
  EXPECT_TRUE(pool.spawns().empty());
  pool.Pass(11 * kSecond);
  ASSERT_FALSE(pool.refused.empty());
  EXPECT_EQ(pool.refused.back().reason, Reason::kLimit);
}

TEST(Lease, CountsTheResourceOfAStoppedWorkerThatWaitsInsideGet) {
  LeaseCore::Config config;
  config.has = Gpus(1000);
  Pool pool(3, config);
  const Client job = pool.StartJob();
  pool.Tell(ShapeNamed{job, 1, Gpus(1000)});
  pool.Tell(ShapeNamed{job, 2, {{{"gpu", 1000}}, {}}});
  pool.Tell(Want{job, 1, 1000, 0, 1});
  const Client first = pool.Ready().at(0);
  pool.Tell(Want{job, 1, 1000, 0, 2});
  pool.Pass(3 * kSecond);
  ASSERT_EQ(pool.stopped, std::vector{first});
  pool.Tell(Blocked{first, true});  // only now its task waits, and for what it holds itself
  pool.Tell(Want{first, 1, 1000, 0, 1});
  EXPECT_TRUE(pool.spawns().empty());
  pool.Pass(11 * kSecond);
  ASSERT_FALSE(pool.refused.empty());
  EXPECT_EQ(pool.refused.back().reason, Reason::kLimit);
}

TEST(Lease, LimitsAJobByItsGrantOverAllItsShapes) {
  LeaseCore::Config config;
  config.has = Gpus(4000);
  Pool pool(8, config);
  const Client job = pool.StartJob();
  pool.Tell(JobLimited{job, 2});
  pool.Tell(ShapeNamed{job, 1, Gpus(1000)});
  pool.Tell(Want{job, 4});
  pool.Tell(Want{job, 4, 1000, 0, 1});
  EXPECT_EQ(pool.core().Running({job, 0}), 1u);
  EXPECT_EQ(pool.core().Running({job, 1}), 1u);
}

TEST(Lease, LendsTheResourceOfACancelledStartOnceItsProcessIsGone) {
  LeaseCore::Config config;
  config.has = Gpus(1000);
  Pool pool(2, config);
  const Client first = pool.StartJob(), second = pool.StartJob();
  pool.Tell(ShapeNamed{first, 1, Gpus(1000)});
  pool.Tell(ShapeNamed{second, 1, Gpus(1000)});
  pool.Tell(Want{first, 1, 1000, 0, 1});
  const Spawn spawn = pool.spawns().at(0);
  pool.Tell(Want{first, 0, 1000, 0, 1});
  pool.Tell(Want{second, 1, 1000, 0, 1});
  EXPECT_TRUE(pool.spawns().empty());
  pool.Tell(SpawnFailed{spawn, 0});
  EXPECT_EQ(pool.spawns().size(), 1u);
}

}  // namespace
}  // namespace sheaf::lease
