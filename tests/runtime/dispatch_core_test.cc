#include "runtime/dispatch_core.h"

#include <gtest/gtest.h>

namespace sheaf::runtime {
namespace {

constexpr std::int64_t kMillisecond = 1'000'000;

DispatchCore WithPairs(int pairs) {
  DispatchCore core;
  for (int i = 0; i < pairs; ++i) core.Open(i);
  return core;
}

// Pushes until the core says that the rest must wait; returns how many it took.
int Fill(DispatchCore& core, std::int64_t now) {
  int pushed = 0;
  for (int pair = core.Choose(DispatchCore::kNone); pair != DispatchCore::kNone;
       pair = core.Choose(DispatchCore::kNone)) {
    core.OnPushed(pair, now);
    ++pushed;
  }
  return pushed;
}

TEST(DispatchCore, KeepsTasksInTheBacklogWhileNobodyIsLeased) {
  DispatchCore core;
  EXPECT_EQ(core.Choose(DispatchCore::kNone), DispatchCore::kNone);
}

TEST(DispatchCore, SharesTasksEvenlyBetweenWorkers) {
  DispatchCore core = WithPairs(2);
  Fill(core, 0);
  EXPECT_EQ(core.At(0).in_flight, core.At(1).in_flight);
}

TEST(DispatchCore, StaysWithTheWorkerThatIsAwake) {
  DispatchCore core = WithPairs(2);
  core.OnPushed(1, 0);
  core.OnConsumed(1, 1, 100);
  EXPECT_EQ(core.Choose(DispatchCore::kNone), 1);
}

TEST(DispatchCore, FollowsTheInputUnlessThatQueueGrowsPastTheOthers) {
  DispatchCore core = WithPairs(2);
  core.OnPushed(1, 0);
  EXPECT_EQ(core.Choose(1), 1);
  core.OnPushed(1, 0);
  EXPECT_EQ(core.Choose(1), 0);
}

TEST(DispatchCore, DeepensQueuesOfShortTasks) {
  DispatchCore core = WithPairs(1);
  std::int64_t now = 0;
  for (int round = 0; round < 12; ++round) {
    const int pushed = Fill(core, now);
    now += pushed * 1000;
    core.OnConsumed(0, static_cast<std::uint32_t>(pushed), now);
  }
  EXPECT_EQ(core.At(0).depth, limits::kLaneDepth);
}

TEST(DispatchCore, KeepsQueuesOfLongTasksShort) {
  DispatchCore core = WithPairs(1);
  std::int64_t now = 0;
  for (int round = 0; round < 8; ++round) {
    const int pushed = Fill(core, now);
    now += pushed * 10 * kMillisecond;
    core.OnConsumed(0, static_cast<std::uint32_t>(pushed), now);
  }
  EXPECT_EQ(core.At(0).depth, 1u);
}

TEST(DispatchCore, PushesNothingToABlockedPausedOrFullWorker) {
  DispatchCore core = WithPairs(1);
  core.At(0).blocked = true;
  EXPECT_EQ(core.Choose(DispatchCore::kNone), DispatchCore::kNone);
  core.At(0).blocked = false;
  core.At(0).paused = true;
  EXPECT_EQ(core.Choose(0), DispatchCore::kNone);
  core.At(0).paused = false;
  core.At(0).full = true;
  EXPECT_EQ(core.Choose(0), DispatchCore::kNone);
}

TEST(DispatchCore, RecallsFromABlockedWorkerAtOnce) {
  DispatchCore core = WithPairs(1);
  core.OnPushed(0, 0);
  EXPECT_FALSE(core.ShouldRecall(0, 0));
  core.At(0).blocked = true;
  EXPECT_TRUE(core.ShouldRecall(0, 0));
}

TEST(DispatchCore, RecallsFromBehindALongTaskOnlyWhenAnotherWorkerIsIdle) {
  DispatchCore core = WithPairs(2);
  core.OnPushed(0, 0);
  core.OnPushed(0, 0);
  core.OnPushed(1, 0);
  EXPECT_FALSE(core.ShouldRecall(0, 2 * kMillisecond));
  core.OnConsumed(1, 1, kMillisecond);
  EXPECT_TRUE(core.ShouldRecall(0, 2 * kMillisecond));
  EXPECT_FALSE(core.ShouldRecall(0, kMillisecond / 2));
}

TEST(DispatchCore, WantsNoMoreWorkersThanTasksOrSlots) {
  EXPECT_EQ(DispatchCore::Want(0, 4), 0u);
  EXPECT_EQ(DispatchCore::Want(3, 4), 3u);
  EXPECT_EQ(DispatchCore::Want(1000, 4), 4u);
}

TEST(DispatchCoreDeathTest, AbortsWhenMoreIsConsumedThanWasPushed) {
  DispatchCore core = WithPairs(1);
  EXPECT_DEATH(core.OnConsumed(0, 1, 0), "in_flight");
}

}  // namespace
}  // namespace sheaf::runtime
