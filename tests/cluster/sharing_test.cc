// Long tasks that have not begun move to whoever is free: to another machine, and out of the way of another job.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "sheaf/sheaf.h"
#include "tests/cluster/cluster.h"

namespace {

using sheaf::ObjectRef;
using sheaf::Remote;

bool Exists(const std::string& file) { return access(file.c_str(), F_OK) == 0; }
void Touch(const std::string& file) { std::ofstream(file).close(); }
bool Appears(const std::string& file) {
  for (int look = 0; look < 20'000 && !Exists(file); ++look) usleep(1'000);
  return Exists(file);
}

void BehindAGate(const std::string& folder, int number) {
  Touch(folder + "/begun" + std::to_string(number));
  while (!Exists(folder + "/gate" + std::to_string(number))) usleep(1'000);
}

int SlowPid() {
  usleep(2'000);
  return getpid();
}

int Next(int x) { return x + 1; }
int Forty() { return 40; }

class SharingTest : public ::testing::Test {
 protected:
  SharingTest() : folder_(cluster_.directory() + "/marks") { std::filesystem::create_directory(folder_); }
  void Connect(const std::string& pool) {
    setenv("SHEAF_ADDRESS", cluster_.SocketOf(pool).c_str(), 1);
    int argc = 1;
    char program[] = "sharing_test";
    char* argv[] = {program, nullptr};
    sheaf::Init(argc, argv);
  }
  void Start(int tasks) {
    for (int i = 0; i < tasks; ++i) tasks_.push_back(Remote<BehindAGate>(folder_, i));
  }
  std::vector<int> Begun() const {
    std::vector<int> begun;
    for (int i = 0; i < static_cast<int>(tasks_.size()); ++i)
      if (Exists(folder_ + "/begun" + std::to_string(i))) begun.push_back(i);
    return begun;
  }
  // Until two workers are up: then tasks go into their lanes at once, and none waits in the driver.
  static void WarmUp() {
    for (int a = 0, b = 0; a == b;) {
      const auto one = Remote<SlowPid>(), other = Remote<SlowPid>();
      a = one.Get();
      b = other.Get();
    }
  }
  static void MakeInputsOnTheOnlySlot() {
    EXPECT_EQ(Remote<Next>(1).Get(), 2);
    for (int round = 0; round < 3; ++round) {
      const auto input = sheaf::Task<Forty>({.labels = {{"where", "there"}}}).Remote();
      EXPECT_EQ(Remote<Next>(input).Get(std::chrono::seconds(20)), 41);
    }
  }
  // Slots on other machines, as the scheduler says it.
  std::size_t Holds() {
    sheaf::cli::Child list({std::getenv("SHEAF_BIN"), "list", "grants", "--address", cluster_.address()}, {});
    const std::string text = list.Rest();
    std::size_t grants = 0;
    for (std::size_t at = 0; (at = text.find("granted", at)) != std::string::npos; ++at) ++grants;
    return grants;
  }
  // As Await: a machine that was slow may have been lost in between, and be back.
  std::size_t AwaitHolds(std::size_t count) {
    for (int look = 0; look < 1'000 && Holds() != count; ++look) usleep(10'000);
    return Holds();
  }
  // How many have begun once it is enough, or a long time has passed.
  std::size_t Await(std::size_t enough) const {
    for (int look = 0; look < 10'000 && Begun().size() < enough; ++look) usleep(1'000);
    return Begun().size();
  }
  void Open(int number) const { Touch(folder_ + "/gate" + std::to_string(number)); }
  void End() {
    for (int i = 0; i < static_cast<int>(tasks_.size()); ++i) Open(i);
    for (auto& task : tasks_) task.Get();
    tasks_.clear();
    sheaf::Shutdown();
    unsetenv("SHEAF_ADDRESS");
  }

  sheaf::Cluster cluster_;
  std::string folder_;
  std::vector<ObjectRef<void>> tasks_;
};

TEST_F(SharingTest, AsManyTasksAsTheClusterHasSlotsAllBegin) {
  cluster_.StartPool("home", 2);
  cluster_.StartPool("away", 2);
  Connect("home");
  WarmUp();
  Start(4);
  EXPECT_EQ(Await(4), 4u) << "nothing has ended, and nothing new was submitted";
  End();
}

TEST_F(SharingTest, ABurstThatLiesInTheLanesOfBusyWorkersUsesTheOtherMachineToo) {
  cluster_.StartPool("home", 2);
  cluster_.StartPool("away", 2);
  Connect("home");
  WarmUp();
  Start(8);
  EXPECT_GE(Await(4), 4u);
  End();
}

TEST_F(SharingTest, PlacesThatAJobNeedsNoMoreGoBackThoughItsLastTaskRuns) {
  cluster_.StartPool("home", 0);
  cluster_.StartPool("away", 1);
  cluster_.StartPool("farther", 1);
  Connect("home");
  Start(2);
  EXPECT_EQ(Await(2), 2u);
  EXPECT_EQ(AwaitHolds(2), 2u) << "each machine runs one task at a time";
  Open(0);
  tasks_[0].Get();
  EXPECT_EQ(AwaitHolds(1), 1u);
  EXPECT_EQ(Remote<Next>(1).Get(std::chrono::seconds(20)), 2) << "it asks again";
  End();
}

// The only slot is with tasks that need nothing special. One that waits for its input counts among them, and that input's own task may run on
// that slot alone, but is one of those that ask for a label.
TEST_F(SharingTest, WhatTasksWaitForGetsTheSlotThatTheyHold) {
  cluster_.StartPool("home", 0);
  cluster_.StartPool("away", 1, {"--labels", "where=there"});
  Connect("home");
  MakeInputsOnTheOnlySlot();
  End();
}

TEST_F(SharingTest, WhatTasksWaitForGetsTheWorkerThatTheyHold) {
  cluster_.StartPool("home", 1, {"--labels", "where=there"});
  Connect("home");
  MakeInputsOnTheOnlySlot();
  End();
}

// The other job is another process. It gets a worker as soon as a task ends, not when all that lies behind that task has.
TEST_F(SharingTest, ASecondJobWaitsForOneTaskOfTheFirstNotForItsWholeQueue) {
  cluster_.StartPool("home", 2);
  const std::string go = folder_ + "/go", asks = folder_ + "/asks", served = folder_ + "/served";
  const pid_t other = fork();
  if (other == 0) {
    if (!Appears(go)) _exit(1);
    Connect("home");
    auto task = Remote<Touch>(served);
    // Memory comes from the pool, by the socket on which the wish for a worker went before: now it has decided.
    const auto large = sheaf::Put(sheaf::ArrayBuilder<double>(4 << 20).Seal());
    Touch(asks);
    task.Get();
    sheaf::Shutdown();
    _exit(0);
  }
  Connect("home");
  Start(8);
  EXPECT_EQ(Await(2), 2u);
  Touch(go);
  EXPECT_TRUE(Appears(asks));
  // Which worker is to leave is the pool's choice. The gates of what begins after these open only if nothing else helps.
  for (int round = 0; round < 8 && !Exists(served); ++round) {
    for (const int number : Begun()) Open(number);
    for (int look = 0; look < 2'000 && !Exists(served); ++look) usleep(1'000);
  }
  EXPECT_TRUE(Exists(served));
  EXPECT_LE(Begun().size(), 4u);
  int status = -1;
  waitpid(other, &status, 0);
  EXPECT_EQ(status, 0);
  End();
}

}  // namespace
