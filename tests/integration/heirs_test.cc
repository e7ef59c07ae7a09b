// A process dies that ran a task to its end, and still owes what the task's value speaks of: it is made again, and found by
// whoever holds the old refs (docs/decisions/0011). Each pool has one worker, so that children run where their parent ran.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "runtime/context.h"
#include "sheaf/sheaf.h"

namespace {

using sheaf::ObjectRef;
using sheaf::Remote;

// Tasks leave marks: how often each ran, and in which process. Values of files, replaced at once.
long Read(const std::string& folder, const std::string& name) {
  long value = 0;
  std::ifstream(folder + "/" + name) >> value;
  return value;
}
void Write(const std::string& folder, const std::string& name, long value) {
  std::ofstream(folder + "/" + name + ".new") << value;
  std::filesystem::rename(folder + "/" + name + ".new", folder + "/" + name);
}
void Count(const std::string& folder, const std::string& name) {
  Write(folder, name + ".pid", getpid());
  Write(folder, name, Read(folder, name) + 1);
}
bool Await(const std::function<bool()>& done) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(100);
  while (!done()) {
    if (std::chrono::steady_clock::now() > end) return false;
    usleep(1000);
  }
  return true;
}

// Begins, says so, and ends when the gate is open.
int Late(const std::string& folder, const sheaf::Array<int>& numbers) {
  Count(folder, "late");
  Await([&] { return Read(folder, "gate") != 0; });
  int sum = 0;
  for (const int x : numbers.span()) sum += x;
  return sum;
}
ObjectRef<int> Parent(const std::string& folder, const sheaf::Array<int>& numbers) {
  Count(folder, "parent");
  return Remote<Late>(folder, numbers);
}
ObjectRef<ObjectRef<int>> Grandparent(const std::string& folder, const sheaf::Array<int>& numbers) {
  Count(folder, "grandparent");
  return Remote<Parent>(folder, numbers);
}
int Seven() { return 7; }
// One child that is done at once, one that is late, and the first again.
std::vector<ObjectRef<int>> Several(const std::string& folder, const sheaf::Array<int>& numbers) {
  Count(folder, "parent");
  const auto seven = Remote<Seven>();
  seven.Get();
  return {seven, Remote<Late>(folder, numbers), seven};
}
// Another shape in its second run.
std::vector<ObjectRef<int>> Fickle(const std::string& folder, const sheaf::Array<int>& numbers) {
  Count(folder, "parent");
  if (Read(folder, "parent") > 1) return {};
  return {Remote<Late>(folder, numbers)};
}
ObjectRef<int> FailsThen(const std::string& folder, const sheaf::Array<int>& numbers) {
  Count(folder, "parent");
  if (Read(folder, "parent") > 1) throw std::runtime_error("not twice");
  return Remote<Late>(folder, numbers);
}
int AddOne(int x) { return x + 1; }
std::vector<ObjectRef<int>> PassOn(const ObjectRef<int>& ref) { return {ref}; }

class Heirs : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/sheaf-heirs-test-XXXXXX";
    folder_ = mkdtemp(name);
    setenv("SHEAF_WORKERS", "1", 1);
    sheaf::Init();
    sheaf::ArrayBuilder<int> numbers(10'000);
    for (int& x : numbers.span()) x = 3;
    numbers_ = sheaf::Put(std::move(numbers).Seal());
  }
  void TearDown() override {
    numbers_ = {};
    sheaf::Shutdown();
    unsetenv("SHEAF_WORKERS");
    std::filesystem::remove_all(folder_);
  }
  // Once the late child has begun for the n-th time.
  void KillItsProcess(long n = 1) {
    ASSERT_TRUE(Await([&] { return Read(folder_, "late") == n; }));
    kill(static_cast<pid_t>(Read(folder_, "late.pid")), SIGKILL);
  }
  void OpenGate() { Write(folder_, "gate", 1); }
  long Runs(const std::string& name) const { return Read(folder_, name); }

  std::string folder_;
  ObjectRef<sheaf::Array<int>> numbers_;
  static constexpr int kSum = 30'000;
};

TEST_F(Heirs, AChildThatDiedWithItsParentsProcessIsMadeAgainUnderItsOldRef) {
  const ObjectRef<int> child = Remote<Parent>(folder_, numbers_).Get();
  KillItsProcess();
  OpenGate();
  EXPECT_EQ(child.Get(), kSum);
  EXPECT_EQ(Runs("parent"), 2);
  EXPECT_EQ(Runs("late"), 2);
}

TEST_F(Heirs, TasksThatWereGivenTheOldRefSeeTheNewValue) {
  const ObjectRef<int> child = Remote<Parent>(folder_, numbers_).Get();
  const ObjectRef<int> before = Remote<AddOne>(child);
  KillItsProcess();
  const ObjectRef<int> after = Remote<AddOne>(child);
  OpenGate();
  EXPECT_EQ(before.Get(), kSum + 1);
  EXPECT_EQ(after.Get(), kSum + 1);
  EXPECT_EQ(Remote<AddOne>(child).Get(), kSum + 1);
  EXPECT_EQ(Runs("parent"), 2);
}

TEST_F(Heirs, ATaskThatFollowsTheOldRefDoesNotStandBeforeWhatItWaitsFor) {
  const auto parent = Remote<Parent>(folder_, numbers_);
  const ObjectRef<int> follows = Remote<AddOne>(parent);
  KillItsProcess();
  OpenGate();
  EXPECT_EQ(follows.Get(std::chrono::seconds(60)), kSum + 1);
}

TEST_F(Heirs, AValueThatOnlyPassesARefOnIsNotTakenForItsMaker) {
  const auto parent = Remote<Parent>(folder_, numbers_);
  const auto passed = Remote<PassOn>(parent);
  KillItsProcess();
  OpenGate();
  EXPECT_EQ(passed.Get(std::chrono::seconds(60))[0].Get(std::chrono::seconds(60)), kSum);
  EXPECT_EQ(parent.Get().Get(std::chrono::seconds(60)), kSum);
}

TEST_F(Heirs, AGrandchildIsFoundThroughTheValueOfAChildThatWasThere) {
  const auto outer = Remote<Grandparent>(folder_, numbers_).Get();
  const ObjectRef<int> late = outer.Get();
  KillItsProcess();
  OpenGate();
  EXPECT_EQ(late.Get(), kSum);
  EXPECT_EQ(outer.Get().Get(), kSum);
  EXPECT_EQ(Runs("grandparent"), 2);
  EXPECT_EQ(Runs("parent"), 2);
}

TEST_F(Heirs, WhatWasThereStaysAndOnlyTheRestIsMadeAgain) {
  const auto refs = Remote<Several>(folder_, numbers_).Get();
  KillItsProcess();
  OpenGate();
  EXPECT_EQ(refs[1].Get(), kSum);
  EXPECT_EQ(refs[0].Get() + refs[2].Get(), 14);
  EXPECT_EQ(Runs("parent"), 2);
}

TEST_F(Heirs, NothingRunsTwiceIfAllWasThere) {
  OpenGate();
  const auto refs = Remote<Several>(folder_, numbers_).Get();
  EXPECT_EQ(refs[1].Get(), kSum);
  kill(static_cast<pid_t>(Read(folder_, "late.pid")), SIGKILL);
  EXPECT_EQ(Remote<AddOne>(refs[1]).Get(), kSum + 1);
  EXPECT_EQ(Runs("parent"), 1);
}

TEST_F(Heirs, ASecondDeathIsSurvivedAsWell) {
  const ObjectRef<int> child = Remote<Parent>(folder_, numbers_).Get();
  KillItsProcess(1);
  KillItsProcess(2);
  KillItsProcess(3);
  OpenGate();
  EXPECT_EQ(child.Get(), kSum);
  EXPECT_EQ(Runs("parent"), 4);
}

TEST_F(Heirs, RetriesBoundHowOftenItIsMadeAgain) {
  const ObjectRef<int> child = sheaf::Task<Parent>({.retries = 1}).Remote(folder_, numbers_).Get();
  KillItsProcess(1);
  KillItsProcess(2);
  OpenGate();
  EXPECT_THROW(child.Get(), sheaf::ObjectLostError);
  EXPECT_EQ(Runs("parent"), 2);
}

TEST_F(Heirs, WithoutRetriesTheChildIsLostWithATypedError) {
  const ObjectRef<int> child = sheaf::Task<Parent>({.retries = 0}).Remote(folder_, numbers_).Get();
  const ObjectRef<int> next = Remote<AddOne>(child);
  KillItsProcess();
  OpenGate();
  EXPECT_THROW(child.Get(), sheaf::ObjectLostError);
  EXPECT_THROW(next.Get(), sheaf::ObjectLostError);
  EXPECT_EQ(Runs("parent"), 1);
}

TEST_F(Heirs, ASecondRunOfAnotherShapeIsATypedErrorThatSaysSo) {
  const auto refs = Remote<Fickle>(folder_, numbers_).Get();
  KillItsProcess();
  OpenGate();
  try {
    refs[0].Get();
    FAIL();
  } catch (const sheaf::ObjectLostError& error) {
    EXPECT_NE(std::string(error.what()).find("another shape"), std::string::npos) << error.what();
  }
}

TEST_F(Heirs, ASecondRunThatFailsGivesItsErrorToTheHeirs) {
  const ObjectRef<int> child = Remote<FailsThen>(folder_, numbers_).Get();
  KillItsProcess();
  OpenGate();
  try {
    child.Get();
    FAIL();
  } catch (const sheaf::Error& error) {
    EXPECT_NE(std::string(error.what()).find("not twice"), std::string::npos) << error.what();
  }
}

TEST_F(Heirs, ArgumentsAreLetGoWhenAllThatTheValueSpeaksOfIsThere) {
  auto& submitter = sheaf::runtime::CurrentContext()->submitter();
  const auto remembered = [&] {
    sheaf::runtime::Submitter::Lock lock(submitter);
    return submitter.remembered();
  };
  const ObjectRef<int> child = Remote<Parent>(folder_, numbers_).Get();
  EXPECT_EQ(remembered(), 1u);
  OpenGate();
  EXPECT_EQ(child.Get(), kSum);
  EXPECT_TRUE(Await([&] { return remembered() == 0; }));
}

TEST_F(Heirs, WhatNobodyHoldsIsNotMadeAgain) {
  auto& submitter = sheaf::runtime::CurrentContext()->submitter();
  Remote<Parent>(folder_, numbers_).Get();
  EXPECT_TRUE(Await([&] {
    sheaf::runtime::Submitter::Lock lock(submitter);
    return submitter.remembered() == 0;
  }));
  KillItsProcess();
  EXPECT_EQ(Remote<Seven>().Get(), 7);
  EXPECT_EQ(Runs("parent"), 1);
}

}  // namespace
