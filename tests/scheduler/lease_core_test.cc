// Workers and pairs by CPUs: who gets how many, who waits, who is stopped. Single-threaded, the time is told.
#include <gtest/gtest.h>

#include "tests/scheduler/lease_pool.h"

namespace sheaf::lease {
namespace {

TEST(Lease, StartsAsManyWorkersAsAreWantedAndFit) {
  Pool pool(3);
  const Client job = pool.StartJob();
  pool.Tell(Want{job, 2});
  EXPECT_EQ(pool.spawns().size(), 2u);
  pool.Tell(Want{job, 100});
  EXPECT_EQ(pool.spawns().size(), 3u);
  const auto workers = pool.Ready();
  EXPECT_EQ(pool.WorkersOf(job), workers);
  pool.Tell(Want{job, 100});  // repeated: nothing happens
  EXPECT_TRUE(pool.spawns().empty());
}

TEST(Lease, KeepsAJobOfAnotherPoolToTheSlotsOfItsGrant) {
  Pool pool(4);
  pool.Tell(JobStarted{100, 2});
  pool.Tell(Want{100, 4});
  EXPECT_EQ(pool.spawns().size(), 2u);
  pool.Tell(JobLimited{100, 3});
  EXPECT_EQ(pool.spawns().size(), 3u);
  pool.Tell(JobLimited{7, 3});  // one that has ended meanwhile
}

TEST(Lease, SharesSlotsFairlyBetweenJobsAndMakesRoomForALateOne) {
  Pool pool(4);
  const Client first = pool.StartJob();
  pool.Tell(Want{first, 4});
  pool.Ready();
  const Client second = pool.StartJob();
  pool.Tell(Want{second, 4});
  ASSERT_EQ(pool.stopped.size(), 2u);  // half of the slots
  EXPECT_TRUE(pool.spawns().empty());  // not before the others are gone
  for (const Client worker : std::vector(pool.stopped)) pool.Die(worker);
  pool.Ready();
  EXPECT_EQ(pool.WorkersOf(first).size(), 2u);
  EXPECT_EQ(pool.WorkersOf(second).size(), 2u);
  pool.Tell(Want{second, 0});
  pool.Pass(20 * kSecond);
  for (const Client worker : std::vector(pool.stopped)) pool.Die(worker);
  pool.Ready();
  EXPECT_EQ(pool.WorkersOf(first).size(), 4u);
}

TEST(Lease, LetsJobsTakeTurnsWhereNotEvenOneWorkerEachFits) {
  Pool pool(1);
  const Client first = pool.StartJob(), second = pool.StartJob();
  pool.Tell(Want{first, 1});
  pool.Tell(Want{second, 1});
  const Client worker = pool.Ready().at(0);
  EXPECT_EQ(pool.WorkersOf(first).size(), 1u);
  pool.Pass(3 * kSecond);
  ASSERT_EQ(pool.stopped, std::vector{worker});
  pool.Die(worker);
  pool.Ready();
  EXPECT_EQ(pool.WorkersOf(first).size(), 0u);
  EXPECT_EQ(pool.WorkersOf(second).size(), 1u);
}

TEST(Lease, GivesTheSlotOfABlockedWorkerToAnother) {
  Pool pool(1);
  const Client job = pool.StartJob();
  pool.Tell(Want{job, 1});
  const Client first = pool.Ready().at(0);
  pool.Tell(Blocked{first, true});
  const Client second = pool.Ready().at(0);
  EXPECT_EQ(pool.core().OccupiedMilli(), 1000u);
  pool.Tell(Want{first, 1});  // the task inside wants help itself
  EXPECT_EQ(pool.WorkersOf(first), std::vector{second});
  pool.Tell(Blocked{first, false});  // resumes beside the other; the surplus goes after a while
  EXPECT_TRUE(pool.stopped.empty());
  pool.Tell(Want{first, 0});
  pool.Pass(20 * kSecond);
  EXPECT_EQ(pool.stopped.size(), 1u);
}

TEST(Lease, NeverPairsAWorkerWithItself) {
  Pool pool(2);
  const Client job = pool.StartJob();
  pool.Tell(Want{job, 1});
  const Client worker = pool.Ready().at(0);
  pool.Tell(Want{worker, 5});
  const Client other = pool.Ready().at(0);
  EXPECT_EQ(pool.WorkersOf(worker), std::vector{other});
}

TEST(Lease, CountsAWideTaskExactlyAndRefusesTheInfeasible) {
  Pool pool(4);
  const Client job = pool.StartJob();
  pool.Tell(Want{job, 4, 1500});
  EXPECT_EQ(pool.spawns().size(), 2u);  // 3 CPUs; a third would be 4.5
  pool.Tell(Want{job, 1, 4001});
  ASSERT_EQ(pool.refused.size(), 1u);
  EXPECT_EQ(pool.refused[0].reason, Reason::kInfeasible);
}

TEST(Lease, StopsNarrowWorkersThatAreInTheWayOfAWideTaskAtOnce) {
  Pool pool(4);
  const Client job = pool.StartJob();
  pool.Tell(Want{job, 4});
  pool.Ready();
  pool.Tell(Want{job, 4, 2000});
  EXPECT_EQ(pool.stopped.size(), 2u);
}

TEST(Lease, ReplacesAWorkerThatDied) {
  Pool pool(1);
  const Client job = pool.StartJob();
  pool.Tell(Want{job, 1});
  const Client worker = pool.Ready().at(0);
  pool.Die(worker);
  const Client next = pool.Ready().at(0);
  EXPECT_EQ(pool.WorkersOf(job), std::vector{next});
}

TEST(Lease, KeepsTheRegionWithResultsForADeadSubmitterUntilItIsForgotten) {
  Pool pool(2);
  const Client job = pool.StartJob();
  pool.Tell(Want{job, 2});
  const auto workers = pool.Ready();
  pool.Tell(Want{workers[0], 1});
  ASSERT_EQ(pool.WorkersOf(workers[0]), std::vector{workers[1]});
  const std::size_t used = pool.core().clients().at(workers[1]).in_used.size();
  pool.Tell(ClientDied{workers[0], 9});
  EXPECT_EQ(pool.core().clients().at(workers[1]).in_used.size(), used);
  pool.Tell(PeerForgotten{workers[1], workers[0]});
  EXPECT_EQ(pool.core().clients().at(workers[1]).in_used.size(), used - 1);
}

TEST(Lease, BacksOffFromProcessesThatDieBeforeTheyAreReadyAndGivesUpAfterFive) {
  Pool pool(1);
  const Client job = pool.StartJob();
  pool.Tell(Want{job, 1});
  for (int i = 0; i < 5; ++i) {
    ASSERT_EQ(pool.spawns().size(), 1u) << i;
    pool.FailSpawn();
    EXPECT_TRUE(pool.spawns().empty());  // not again at once
    pool.Pass(kSecond);
  }
  ASSERT_EQ(pool.refused.size(), 1u);
  EXPECT_EQ(pool.refused[0].reason, Reason::kSpawnFailed);
  EXPECT_TRUE(pool.spawns().empty());
  pool.Tell(Want{job, 1});  // asks again: a new start
  pool.Pass(kSecond);
  EXPECT_EQ(pool.spawns().size(), 1u);
}

TEST(Lease, TakesAProcessThatNeverGetsReadyForAFailure) {
  Pool pool(1);
  const Client job = pool.StartJob();
  pool.Tell(Want{job, 1});
  const Spawn late = pool.spawns().at(0);
  pool.Pass(31 * kSecond);
  ASSERT_EQ(pool.spawns().size(), 1u);
  EXPECT_NE(pool.spawns()[0], late);
  pool.Tell(WorkerReady{late, 77});  // crossed the cancellation
  EXPECT_EQ(pool.stopped, std::vector<Client>{77});
}

TEST(Lease, RefusesInsteadOfHangingWhenAllWaitAndNoneMayBeAdded) {
  LeaseCore::Config config;
  config.extra_workers_max = 1;
  Pool pool(1, config);
  const Client job = pool.StartJob();
  pool.Tell(Want{job, 1});
  for (int i = 0; i < 2; ++i) pool.Tell(Blocked{pool.Ready().at(0), true});
  EXPECT_TRUE(pool.spawns().empty());
  pool.Pass(11 * kSecond);
  ASSERT_EQ(pool.refused.size(), 1u);
  EXPECT_EQ(pool.refused[0].reason, Reason::kLimit);
}

TEST(Lease, EndsAJobWithItsWorkers) {
  Pool pool(2);
  const Client job = pool.StartJob();
  pool.Tell(Want{job, 2});
  const auto workers = pool.Ready();
  pool.Tell(JobEnded{job});
  EXPECT_EQ(pool.stopped, workers);
  pool.Tell(Want{job, 2});  // crossed the end
  pool.Tell(Want{workers[0], 2});
  EXPECT_EQ(pool.refused.at(0).reason, Reason::kStopping);
  pool.Die(workers[0]);
  pool.Die(workers[1]);
  EXPECT_TRUE(pool.core().jobs().empty());
  EXPECT_TRUE(pool.core().pairs().empty());
  EXPECT_EQ(pool.core().NextDeadline(), kNever);
}

TEST(Lease, DrainsEverything) {
  Pool pool(2);
  const Client job = pool.StartJob();
  pool.Tell(Want{job, 1});
  const Client worker = pool.Ready().at(0);
  pool.Tell(Want{job, 2});
  pool.Tell(Drain{});
  EXPECT_EQ(pool.stopped, std::vector{worker});
  EXPECT_TRUE(pool.core().spawns().empty());
  pool.Tell(Want{job, 2});
  EXPECT_EQ(pool.refused.at(0).reason, Reason::kStopping);
}

TEST(Lease, AsksForARegionBackFromWhoWantsNothing) {
  LeaseCore::Config config;
  config.pairs_max = 2;
  Pool pool(3, config);
  const Client job = pool.StartJob();
  pool.Tell(Want{job, 3});
  const auto workers = pool.Ready();
  ASSERT_EQ(pool.WorkersOf(job).size(), 2u);  // out of regions
  // Fill the regions of the first two workers.
  pool.Tell(Want{workers[0], 2});
  pool.Tell(Want{workers[1], 2});
  pool.Tell(Want{job, 0});
  pool.Tell(Want{workers[2], 1});
  ASSERT_TRUE(pool.WorkersOf(workers[2]).empty());
  EXPECT_EQ(pool.log.back(), Describe(ClosePair{job, workers[0]}));
  pool.Tell(WorkerReturned{job, workers[0]});
  EXPECT_EQ(pool.WorkersOf(workers[2]), std::vector{workers[0]});
}

}  // namespace
}  // namespace sheaf::lease
