// What outlives its owner: refs, arrays and hooks that are still there after Shutdown, or while others end.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "runtime/context.h"
#include "sheaf/sheaf.h"
#include "tests/support/message_of.h"

namespace {

using sheaf::ObjectRef;
using sheaf::Remote;
using sheaf::test::MessageOf;

int Add(int a, int b) { return a + b; }
int Sum(const sheaf::Array<int>& values) {
  int sum = 0;
  for (int value : values.span()) sum += value;
  return sum;
}
sheaf::Array<int> Sevens(std::size_t count) {
  sheaf::ArrayBuilder<int> values(count);
  for (int& value : values.span()) value = 7;
  return std::move(values).Seal();
}
ObjectRef<int> Later(int x) { return Remote<Add>(x, 1); }
// A long task: it ends once that file is there.
int AfterFile(const std::string& file, int value) {
  while (access(file.c_str(), F_OK) != 0) usleep(1'000);
  return value;
}
int LeaveThePool(int x) {
  sheaf::Shutdown();
  return Remote<Add>(x, 1).Get();
}

std::uint64_t LiveObjects() {
  auto& submitter = sheaf::runtime::RequireContext().submitter();
  sheaf::runtime::Submitter::Lock lock(submitter);
  return submitter.slots().live();
}

const char kOld[] = "this ref is from before Shutdown(), and its object has ended with the pool of that time";
constexpr std::size_t kMany = 1'000'000;  // too many bytes to be kept anywhere but in the store

class ShutdownTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() / ("sheaf-shutdown-" + std::to_string(getpid()));
    std::filesystem::create_directories(folder_);
    sheaf::Init();
  }
  void TearDown() override {
    sheaf::Shutdown();
    std::filesystem::remove_all(folder_);
  }
  static void JoinAgain() {
    sheaf::Shutdown();
    sheaf::Init();
  }
  std::string Gate() const { return (folder_ / "gate").string(); }
  void OpenGate() const { std::ofstream(Gate()).close(); }
  std::filesystem::path folder_;
};

TEST_F(ShutdownTest, RefsThatOnlyADroppedCompletionsHeldEndWithTheirTasks) {
  {
    sheaf::Completions<int> waiting;
    for (int i = 0; i < 8; ++i) waiting.Add(Remote<AfterFile>(Gate(), i));
  }
  OpenGate();
  // The last of their hooks lets go of the refs, on whichever thread finds it; nobody may hold the submitter's lock then.
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(Remote<Add>(i, 1).Get(), i + 1);
  while (LiveObjects() > 0) ASSERT_EQ(Remote<Add>(1, 1).Get(), 2);
}

TEST_F(ShutdownTest, RefsThatOnlyAnUnfinishedWaitHeldEndWithTheirTasks) {
  {
    std::vector<ObjectRef<int>> refs;
    for (int i = 0; i < 8; ++i) refs.push_back(Remote<AfterFile>(Gate(), i));
    EXPECT_EQ(sheaf::Wait(refs, 8, std::chrono::milliseconds(0)).pending.size(), 8u);
  }
  OpenGate();
  while (LiveObjects() > 0) ASSERT_EQ(Remote<Add>(1, 1).Get(), 2);
}

TEST_F(ShutdownTest, ARefFromBeforeIsAnErrorWhereverItIsUsedAndNeverAnotherObject) {
  std::vector<ObjectRef<int>> old;
  for (int i = 0; i < 100; ++i) old.push_back(Remote<Add>(1, i));
  sheaf::Get(old);
  old.push_back(Remote<Later>(1).Get());  // an object of a worker
  old.push_back(Remote<AfterFile>(Gate(), 1));
  JoinAgain();
  std::vector<ObjectRef<int>> fresh;
  for (int i = 0; i < 110; ++i) fresh.push_back(Remote<Add>(1000, i));
  sheaf::Get(fresh);
  for (const ObjectRef<int>& ref : old) {
    EXPECT_EQ(MessageOf([&] { ref.Get(); }), kOld);
    EXPECT_EQ(MessageOf([&] { (void)ref.Ready(); }), kOld);
    EXPECT_EQ(MessageOf([&] { ref.OnReady([] {}); }), kOld);
    EXPECT_EQ(MessageOf([&] { Remote<Add>(ref, 1); }), kOld);
    EXPECT_EQ(MessageOf([&] { sheaf::Put(std::vector<ObjectRef<int>>{ref}); }), kOld);
    sheaf::Completions<int> completions;
    EXPECT_EQ(MessageOf([&] { completions.Add(ref); }), kOld);
  }
  EXPECT_EQ(MessageOf([&] { sheaf::Wait(old, 1); }), kOld);
  old.clear();
  for (int i = 0; i < 110; ++i) EXPECT_EQ(fresh[static_cast<std::size_t>(i)].Get(), 1000 + i);
  EXPECT_EQ(LiveObjects(), fresh.size());
}

TEST_F(ShutdownTest, ACompletionsFromBeforeSaysSo) {
  sheaf::Completions<int> completions;
  completions.Add(Remote<AfterFile>(Gate(), 1));
  JoinAgain();
  EXPECT_EQ(MessageOf([&] { completions.Next(); }), kOld);
}

TEST_F(ShutdownTest, AnArrayStaysReadableAndIsCopiedWhereItIsSentAgain) {
  const auto made_there = Remote<Sevens>(kMany).Get();
  const auto made_here = Sevens(kMany);
  const auto part = made_there.Slice(10, 20);
  sheaf::Shutdown();
  EXPECT_EQ(Sum(made_there), 7 * static_cast<int>(kMany));
  EXPECT_EQ(Sum(made_here), 7 * static_cast<int>(kMany));
  sheaf::Init();
  // Memory of the new pool lies where that of the old one lay.
  sheaf::ArrayBuilder<int> nines(kMany);
  for (int& value : nines.span()) value = 9;
  const auto kept = sheaf::Put(std::move(nines).Seal());
  EXPECT_EQ(Remote<Sum>(made_there).Get(), 7 * static_cast<int>(kMany));
  EXPECT_EQ(Remote<Sum>(made_here).Get(), 7 * static_cast<int>(kMany));
  EXPECT_EQ(Remote<Sum>(part).Get(), 7 * static_cast<int>(part.size()));
  EXPECT_EQ(Remote<Sum>(kept).Get(), 9 * static_cast<int>(kMany));
}

// In a child of its own, as it is over when the globals go.
struct Holder {
  sheaf::Array<int> values;
  ObjectRef<int> ref;
  bool read = false;
  ~Holder() {
    if (read) _exit(Sum(values) == 7 * static_cast<int>(kMany) ? 42 : 1);
  }
} holder;

TEST(AfterMain, AGlobalMayReadItsArrayInItsDestructor) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        sheaf::Init();
        holder.values = Remote<Sevens>(kMany).Get();
        holder.ref = Remote<Add>(1, 2);
        holder.read = true;
        std::exit(0);
      },
      testing::ExitedWithCode(42), "");
}

TEST_F(ShutdownTest, WhatNobodyHoldsIsUnmapped) {
  const auto mapped = [] {
    std::size_t lines = 0;
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) lines += line.find("memfd:") != std::string::npos ? 1 : 0;
    return lines;
  };
  const auto round = [] {
    EXPECT_EQ(Remote<Sum>(Sevens(kMany)).Get(), 7 * static_cast<int>(kMany));
    JoinAgain();
  };
  round();
  const std::size_t before = mapped();
  for (int i = 0; i < 3; ++i) round();
  EXPECT_LE(mapped(), before + 3);  // the page of each pool, and no segment
}

TEST_F(ShutdownTest, InsideATaskItDoesNothing) {
  testing::internal::CaptureStderr();
  JoinAgain();  // workers write to where this process did when it joined
  EXPECT_EQ(Remote<LeaveThePool>(1).Get(), 2);
  EXPECT_EQ(Remote<LeaveThePool>(2).Get(), 3);
  sheaf::Shutdown();  // whose workers have said all they had to say
  EXPECT_NE(testing::internal::GetCapturedStderr().find("sheaf::Shutdown() was called inside a task"),
            std::string::npos);
}

}  // namespace
