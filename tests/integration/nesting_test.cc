// Tasks that submit and await tasks, to any depth, on any number of workers: the deadlocks of the blueprint, for real.
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "sheaf/sheaf.h"

namespace {

using sheaf::ObjectRef;
using sheaf::Remote;

int One() { return 1; }
int Add(int a, int b) { return a + b; }
int Depth(int n) { return n == 0 ? 0 : 1 + Remote<Depth>(n - 1).Get(); }
int Fib(int n) {
  if (n < 2) return n;
  const auto a = Remote<Fib>(n - 1);
  const auto b = Remote<Fib>(n - 2);
  return a.Get() + b.Get();
}
// The parent waits inside Get for a ref that somebody else's task makes.
int AwaitOther(ObjectRef<int> other) { return other.Get() + 1; }
ObjectRef<int> StartAndReturn(int x) { return Remote<Add>(x, 100); }
std::vector<ObjectRef<int>> StartMany(int n) {
  std::vector<ObjectRef<int>> refs;
  for (int i = 0; i < n; ++i) refs.push_back(Remote<Add>(i, 0));
  return refs;
}
int Slow(int ms) {
  usleep(static_cast<unsigned>(ms) * 1000);
  return ms;
}

int FanOut(int n) {
  int sum = 0;
  for (const int value : sheaf::Get(StartMany(n))) sum += value;
  return sum;
}
void BehindAGate(const std::string& folder) {
  std::ofstream(folder + "/begun").close();
  while (access((folder + "/gate").c_str(), F_OK) != 0) usleep(1'000);
}

class Nesting : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    setenv("SHEAF_WORKERS", GetParam(), 1);
    sheaf::Init();
  }
  void TearDown() override {
    sheaf::Shutdown();
    unsetenv("SHEAF_WORKERS");
  }
};

TEST_P(Nesting, RecursesAThousandDeep) { EXPECT_EQ(Remote<Depth>(1000).Get(), 1000); }

TEST_P(Nesting, FansOutAtEveryLevel) { EXPECT_EQ(Remote<Fib>(15).Get(), 610); }

TEST_P(Nesting, AChildBehindItsBlockedParentRuns) {
  // With one worker every child is queued behind the parent that awaits it.
  std::vector<ObjectRef<int>> parents;
  for (int i = 0; i < 8; ++i) parents.push_back(Remote<Depth>(5));
  for (auto& parent : parents) EXPECT_EQ(parent.Get(), 5);
}

TEST_P(Nesting, ATaskThatAwaitsATaskQueuedBehindItDoesNotBlockIt) {
  const auto slow = Remote<Slow>(30);
  std::vector<ObjectRef<int>> waiting;
  for (int i = 0; i < 4; ++i) waiting.push_back(Remote<AwaitOther>(sheaf::Put(1)));
  const auto late = Remote<Add>(slow, 1);
  for (int i = 0; i < 4; ++i) waiting.push_back(Remote<AwaitOther>(late));
  for (int i = 0; i < 4; ++i) EXPECT_EQ(waiting[static_cast<std::size_t>(i)].Get(), 2);
  for (int i = 4; i < 8; ++i) EXPECT_EQ(waiting[static_cast<std::size_t>(i)].Get(), 32);
}

TEST_P(Nesting, RefsOfChildrenOutliveTheirParents) {
  const ObjectRef<int> child = Remote<StartAndReturn>(1).Get();
  EXPECT_EQ(child.Get(), 101);
  EXPECT_EQ(Remote<Add>(child, 1).Get(), 102);
  const auto many = Remote<StartMany>(200).Get();
  for (int i = 0; i < 200; ++i) EXPECT_EQ(many[static_cast<std::size_t>(i)].Get(), i);
}

TEST_P(Nesting, ChainsCrossWorkersAndSubmitters) {
  ObjectRef<int> value = Remote<One>();
  for (int i = 0; i < 300; ++i) value = i % 3 ? Remote<Add>(value, 1) : Remote<AwaitOther>(value);
  // AwaitOther takes the ref itself and adds one.
  EXPECT_EQ(value.Get(), 301);
}

// Of two, three or four workers one runs a task that ends when all is over.
class BesideALongTask : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    setenv("SHEAF_WORKERS", GetParam(), 1);
    sheaf::Init();
    char name[] = "/tmp/sheaf-nesting-test-XXXXXX";
    folder_ = mkdtemp(name);
    long_ = Remote<BehindAGate>(folder_);
    while (access((folder_ + "/begun").c_str(), F_OK) != 0) usleep(1'000);
  }
  void TearDown() override {
    std::ofstream(folder_ + "/gate").close();
    long_.Get();
    long_ = {};
    sheaf::Shutdown();
    std::filesystem::remove_all(folder_);
    unsetenv("SHEAF_WORKERS");
  }
  std::string folder_;
  ObjectRef<void> long_;
};

TEST_P(BesideALongTask, ChildrenThatTheirParentAwaitsDoNotWaitForIt) {
  for (int round = 0; round < 100; ++round) ASSERT_EQ(Remote<FanOut>(10).Get(std::chrono::seconds(20)), 45) << round;
}

TEST_P(BesideALongTask, ChildrenWhoseParentHasEndedDoNotWaitForIt) {
  for (int round = 0; round < 100; ++round)
    ASSERT_EQ(Remote<Add>(Remote<StartAndReturn>(round), 1).Get(std::chrono::seconds(20)), round + 101) << round;
}

INSTANTIATE_TEST_SUITE_P(Workers, BesideALongTask, testing::Values("2", "3", "4"),
                         [](const auto& info) { return std::string("With") + info.param; });

INSTANTIATE_TEST_SUITE_P(Workers, Nesting, testing::Values("1", "2", "4"),
                         [](const auto& info) { return std::string("With") + info.param; });

}  // namespace
