#include "scheduler/lease_core.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace sheaf::lease {
namespace {

constexpr Time kSecond = 1'000'000'000;

// The core with a shell that does what it is told at once, where a test does not want otherwise.
class Pool {
 public:
  explicit Pool(std::uint32_t slots, LeaseCore::Config config = {}) : core_(With(slots, config)) {}

  Client StartJob() {
    Tell(JobStarted{next_client_});
    return next_client_++;
  }
  // Every process that is being started becomes ready.
  std::vector<Client> Ready() {
    std::vector<Client> ready;
    while (!spawns_.empty()) {
      const Spawn spawn = spawns_.front();
      spawns_.erase(spawns_.begin());
      ready.push_back(next_client_);
      Tell(WorkerReady{spawn, next_client_++});
    }
    return ready;
  }
  void FailSpawn() {
    const Spawn spawn = spawns_.front();
    spawns_.erase(spawns_.begin());
    Tell(SpawnFailed{spawn, 2});
  }
  void Tell(const Event& event) {
    for (const Action& action : core_.OnEvent(event, now)) {
      if (const auto* spawn = std::get_if<SpawnWorker>(&action)) spawns_.push_back(spawn->spawn);
      if (const auto* cancel = std::get_if<CancelSpawn>(&action)) std::erase(spawns_, cancel->spawn);
      if (const auto* stop = std::get_if<StopWorker>(&action)) stopped.push_back(stop->worker);
      if (const auto* refuse = std::get_if<Refuse>(&action)) refused.push_back(*refuse);
      log.push_back(Describe(action));
    }
  }
  // Lets time pass, with a Tick at every deadline.
  void Pass(Time time) {
    const Time end = now + time;
    while (core_.NextDeadline() <= end) {
      now = std::max(now, core_.NextDeadline());
      Tell(Tick{});
    }
    now = end;
  }
  std::vector<Client> WorkersOf(Client submitter) const {
    std::vector<Client> workers;
    for (const auto& [key, pair] : core_.pairs())
      if (key.first == submitter && pair.state == PairState::kOpen) workers.push_back(key.second);
    return workers;
  }
  void Die(Client client) {
    Tell(ClientDied{client, 9});
    for (const auto& [id, view] : std::map(core_.clients())) Tell(PeerForgotten{id, client});
  }
  const std::vector<Spawn>& spawns() const { return spawns_; }
  const LeaseCore& core() const { return core_; }

  Time now = kSecond;
  std::vector<Client> stopped;
  std::vector<Refuse> refused;
  std::vector<std::string> log;

 private:
  static LeaseCore::Config With(std::uint32_t slots, LeaseCore::Config config) {
    config.slots = slots;
    if (config.pairs_max == LeaseCore::Config{}.pairs_max) config.pairs_max = slots + 6;
    return config;
  }
  LeaseCore core_;
  Client next_client_ = 1;
  std::vector<Spawn> spawns_;
};

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

// ---- what tasks need besides CPUs

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
