// Pools, schedulers and relays die or stop while tasks run; every result arrives once, right, or as a typed error.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "base/random.h"
#include "sheaf/sheaf.h"
#include "tests/cluster/cluster.h"
#include "tests/cluster/load.h"

namespace {

using sheaf::ObjectRef;
using sheaf::Remote;
using sheaf::test::kPatient;
using sheaf::test::Load;
using sheaf::test::Mix;

int Same(int x) { return x; }
int AfterTheGate(const std::string& gate, int x) {
  while (access(gate.c_str(), F_OK) != 0) usleep(1000);
  return x;
}
ObjectRef<int> StartBehindTheGate(const std::string& gate, int x) { return Remote<AfterTheGate>(gate, x); }

class FailureTest : public ::testing::Test {
 protected:
  void SetUp() override {
    cluster_.StartPool("near", 0);
    cluster_.StartPool("far-a", 2);
    cluster_.StartPool("far-b", 2);
    if (HasFatalFailure()) return;
    setenv("SHEAF_ADDRESS", cluster_.SocketOf("near").c_str(), 1);
    int argc = 1;
    char program[] = "failure_test";
    char* argv[] = {program, nullptr};
    sheaf::Init(argc, argv);
  }
  void TearDown() override {
    sheaf::Shutdown();
    unsetenv("SHEAF_ADDRESS");
  }
  void RunOne() { EXPECT_EQ(sheaf::Task<Mix>({.retries = kPatient}).Remote(5).Get(std::chrono::seconds(30)), Mix(5)); }
  sheaf::Cluster cluster_;
  Load load_;
};

TEST_F(FailureTest, RunsElsewhereWhatAKilledMachineHad) {
  RunOne();
  load_.Submit(20, 20, 10);
  cluster_.KillPool("far-a");
  EXPECT_EQ(load_.Collect(), 0) << load_.last_error;
  cluster_.StartPool("far-a", 2);
  load_.Submit(20, 20, 10);
  cluster_.KillPool("far-b");
  EXPECT_EQ(load_.Collect(), 0) << load_.last_error;
}

TEST_F(FailureTest, GoesOnWithoutItsSchedulerAndPlacesAgainWhenThatIsBack) {
  RunOne();
  load_.Submit(20, 20, 10);
  const std::string address = cluster_.address();
  cluster_.KillScheduler();
  EXPECT_EQ(load_.Collect(), 0) << load_.last_error;
  cluster_.StartScheduler(address);
  load_.Submit(20, 20, 10);
  EXPECT_EQ(load_.Collect(), 0) << load_.last_error;
}

TEST_F(FailureTest, LosesNoneOfManyTasksInFlightWhenTheSchedulerDies) {
  RunOne();
  const char* count = std::getenv("SHEAF_TEST_IN_FLIGHT");
  const int tasks = count ? std::atoi(count) : 100'000;
  std::vector<ObjectRef<int>> refs;
  for (int i = 0; i < tasks; ++i) {
    refs.push_back(Remote<Same>(i));
    if (i == tasks / 2) cluster_.KillScheduler();
  }
  const std::string address = cluster_.address();
  cluster_.StartScheduler(address);
  for (int i = 0; i < tasks; ++i) ASSERT_EQ(refs[static_cast<std::size_t>(i)].Get(std::chrono::seconds(60)), i);
}

TEST_F(FailureTest, MakesAgainTheUnfinishedChildrenThatAKilledMachineHadHandedOut) {
  const std::string gate = cluster_.directory() + "/gate";
  const ObjectRef<int> child = Remote<StartBehindTheGate>(gate, 5).Get(std::chrono::seconds(60));
  const ObjectRef<int> next = Remote<Same>(child);
  cluster_.KillPool("far-a");
  cluster_.KillPool("far-b");
  cluster_.StartPool("far-b", 2);
  std::ofstream(gate).close();
  EXPECT_EQ(child.Get(std::chrono::seconds(60)), 5);
  EXPECT_EQ(next.Get(std::chrono::seconds(60)), 5);
}

TEST_F(FailureTest, SurvivesRelaysThatDie) {
  RunOne();
  for (int round = 0; round < 5; ++round) {
    load_.Submit(10, 10, 4);
    for (const pid_t pid : cluster_.ChildrenOf(cluster_.SupervisorOf(round % 2 ? "near" : "far-a")))
      if (pid != cluster_.PoolOf(round % 2 ? "near" : "far-a")) kill(pid, SIGKILL);
    EXPECT_EQ(load_.Collect(), 0) << load_.last_error;
  }
}

TEST_F(FailureTest, GivesUpAStoppedMachineAndTakesItBackLater) {
  RunOne();
  load_.Submit(20, 20, 10);
  std::vector<pid_t> stopped = cluster_.ChildrenOf(cluster_.SupervisorOf("far-a"));
  for (const pid_t pid : stopped) kill(pid, SIGSTOP);
  EXPECT_EQ(load_.Collect(), 0) << load_.last_error;
  for (const pid_t pid : stopped) kill(pid, SIGCONT);
  load_.Submit(20, 20, 10);
  EXPECT_EQ(load_.Collect(), 0) << load_.last_error;
}

// SHEAF_TEST_FAULTS of them, from one seed.
TEST_F(FailureTest, LosesNothingToRandomFaults) {
  const char* count = std::getenv("SHEAF_TEST_FAULTS");
  const int faults = count ? std::atoi(count) : 12;
  sheaf::Random random(7);
  RunOne();
  const std::string address = cluster_.address();
  for (int i = 0; i < faults; ++i) {
    load_.Submit(6, 8, 3);
    const std::string pool = random.Below(2) ? "far-a" : "far-b";
    SCOPED_TRACE("fault " + std::to_string(i));
    switch (random.Below(6)) {
      case 0:
        cluster_.KillPool(pool);
        cluster_.StartPool(pool, 2);
        break;
      case 1:
        kill(cluster_.PoolOf(pool), SIGKILL);
        cluster_.StartPool(pool, 2);
        break;
      case 2:
        cluster_.KillScheduler();
        cluster_.StartScheduler(address);
        break;
      case 3: {
        const auto children = cluster_.ChildrenOf(cluster_.SupervisorOf(pool));
        const pid_t one = children.empty() ? 0 : children[random.Below(children.size())];
        const bool whole = one == cluster_.PoolOf(pool);
        if (one > 0) kill(one, SIGKILL);
        if (whole) cluster_.StartPool(pool, 2);
        break;
      }
      case 4: {
        const auto children = cluster_.ChildrenOf(cluster_.SupervisorOf("near"));
        for (const pid_t pid : children)
          if (pid != cluster_.PoolOf("near")) kill(pid, SIGKILL);
        break;
      }
      case 5: {
        const auto children = cluster_.ChildrenOf(cluster_.SupervisorOf(pool));
        for (const pid_t pid : children) kill(pid, SIGSTOP);
        std::this_thread::sleep_for(std::chrono::milliseconds(100 + random.Below(300)));
        for (const pid_t pid : children) kill(pid, SIGCONT);
        break;
      }
    }
    EXPECT_EQ(load_.Collect(), 0) << load_.last_error;
    if (HasFailure()) return;
  }
}

}  // namespace
