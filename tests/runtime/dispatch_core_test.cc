#include "runtime/dispatch_core.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace sheaf::runtime {
namespace {

constexpr std::uint32_t kMillisecond = 1'000'000;

constexpr std::uint32_t kCost = 1000;
constexpr std::uint32_t kFunction = 7;

DispatchCore WithPairs(int pairs) {
  DispatchCore core;
  for (int i = 0; i < pairs; ++i) core.Open(i);
  return core;
}

// Pushes one task as chosen; kNone if it has to wait.
DispatchCore::Input Push(DispatchCore& core, std::initializer_list<DispatchCore::Input> inputs, std::uint32_t cost,
                         std::int64_t now = 0) {
  const DispatchCore::Choice choice = core.Choose({inputs.begin(), inputs.size()}, cost);
  if (choice.pair != DispatchCore::kNone) core.OnPushed(choice.pair, choice.start, cost, now);
  return {choice.pair, choice.start + cost};
}

// Pushes until the core says that the rest must wait; returns how many it took.
int Fill(DispatchCore& core, std::uint32_t cost, std::int64_t now) {
  int pushed = 0;
  while (Push(core, {}, cost, now).pair != DispatchCore::kNone) ++pushed;
  return pushed;
}

TEST(DispatchCore, KeepsTasksInTheBacklogWhileNobodyIsLeased) {
  DispatchCore core;
  EXPECT_EQ(core.Choose({}, kCost).pair, DispatchCore::kNone);
}

TEST(DispatchCore, SharesTasksEvenlyBetweenWorkers) {
  DispatchCore core = WithPairs(2);
  Fill(core, 100 * kCost, 0);
  EXPECT_EQ(core.At(0).in_flight, core.At(1).in_flight);
}

TEST(DispatchCore, SharesTimeNotTasks) {
  DispatchCore core = WithPairs(2);
  Push(core, {}, 100 * kCost);
  for (int i = 0; i < 10; ++i) Push(core, {}, 10 * kCost);
  EXPECT_EQ(core.At(0).in_flight, 1u);
  EXPECT_EQ(core.At(1).in_flight, 10u);
}

TEST(DispatchCore, StaysWithTheWorkerThatIsAwake) {
  DispatchCore core = WithPairs(2);
  core.OnPushed(1, 0, kCost, 0);
  core.OnConsumed(1, 1, kCost, 100);
  EXPECT_EQ(core.Choose({}, kCost).pair, 1);
}

TEST(DispatchCore, KeepsAChainOnOneWorker) {
  DispatchCore core = WithPairs(2);
  DispatchCore::Input last = Push(core, {}, kCost);
  const int pair = last.pair;
  for (int i = 0; i < 100; ++i) {
    last = Push(core, {last}, kCost);
    EXPECT_EQ(last.pair, pair);
  }
}

TEST(DispatchCore, KeepsAChainThoughItsWorkerHasBeenBusyForAWhile) {
  DispatchCore core = WithPairs(2);
  const DispatchCore::Input first = Push(core, {}, 2 * kMillisecond);
  core.Tick(kMillisecond);  // half of it has passed; the other worker is idle
  EXPECT_EQ(core.Choose({&first, 1}, kMillisecond).pair, first.pair);
}

TEST(DispatchCore, GivesTheTwoTasksOfEachStepToDifferentWorkers) {
  // A step of training: a task for each rank, which take the state that both ranks made in the step before.
  DispatchCore core = WithPairs(2);
  constexpr std::uint32_t kStep = 300'000;
  DispatchCore::Input a{}, b{};
  std::int64_t now = 0;
  for (int step = 0; step < 50; ++step) {
    const DispatchCore::Input next_a = Push(core, {a, b}, kStep, now), next_b = Push(core, {b, a}, kStep, now);
    ASSERT_NE(next_a.pair, DispatchCore::kNone);
    EXPECT_NE(next_a.pair, next_b.pair) << step;
    now += kStep;
    if (step > 0) {  // the results of the step before arrive, one worker's sooner than the other's
      core.OnConsumed(a.pair, 1, kStep, now);
      core.OnConsumed(b.pair, 1, kStep, now + 20'000);
    }
    a = next_a;
    b = next_b;
  }
}

TEST(DispatchCore, KeepsTheColumnsOfAStencilNearEachOther) {
  DispatchCore core = WithPairs(2);
  constexpr int kWidth = 16, kRows = 400;
  std::vector<DispatchCore::Input> last(kWidth), next(kWidth);
  int far = 0, waited = 0;
  std::int64_t now = 0;
  for (int row = 0; row < kRows; ++row) {
    for (int c = 0; c < kWidth; ++c) {
      const int l = std::max(c - 1, 0), r = std::min(c + 1, kWidth - 1);
      const auto place = static_cast<std::size_t>(c);
      next[place] =
          row == 0
              ? Push(core, {}, kCost)
              : Push(core, {last[static_cast<std::size_t>(l)], last[place], last[static_cast<std::size_t>(r)]}, kCost);
      waited += next[place].pair == DispatchCore::kNone;
      if (row >= kRows / 2)
        for (const int input : {l, r}) far += last[static_cast<std::size_t>(input)].pair != next[place].pair;
    }
    last.swap(next);
    now += kWidth / 2 * kCost;
    for (const int pair : {0, 1}) {
      const std::uint32_t done = core.At(pair).in_flight / 2;
      core.OnConsumed(pair, done, std::int64_t{done} * kCost, now);
    }
  }
  EXPECT_EQ(waited, 0);
  EXPECT_LE(far, kRows / 2 * kWidth / 2) << "a quarter of all inputs, at most, come from the other worker";
}

TEST(DispatchCore, LearnsWhatAFunctionTakesAndQueuesSoMuchTime) {
  DispatchCore core = WithPairs(1);
  EXPECT_EQ(core.CostOf(kFunction), DispatchCore::kUnknownNanos);
  core.Learn(kFunction, 20'000);
  EXPECT_EQ(core.CostOf(kFunction), 20'000u);
  EXPECT_EQ(Fill(core, core.CostOf(kFunction), 0), DispatchCore::kQueueNanos / 20'000);
}

TEST(DispatchCore, QueuesNoMoreShortTasksThanTheCachesHold) {
  DispatchCore core = WithPairs(1);
  EXPECT_EQ(Fill(core, 100, 0), static_cast<int>(DispatchCore::kQueueMax));
}

TEST(DispatchCore, SplitsTheColumnsOfANarrowStencilWhenAWorkerWouldBeIdle) {
  // Two columns, each of which takes both. On one worker they would run one after the other.
  DispatchCore core = WithPairs(2);
  DispatchCore::Input a = Push(core, {}, kCost), b = Push(core, {a}, kCost);  // a start on one worker
  ASSERT_EQ(a.pair, b.pair);
  for (int row = 0; row < 20; ++row) {
    const DispatchCore::Input next_a = Push(core, {a, b}, kCost), next_b = Push(core, {a, b}, kCost);
    EXPECT_NE(next_a.pair, next_b.pair) << row;
    a = next_a;
    b = next_b;
  }
}

TEST(DispatchCore, BelievesASlowerRunLittleByLittle) {
  DispatchCore core;
  core.Learn(kFunction, 1'000);
  core.Learn(kFunction, 3'000'000);
  EXPECT_LE(core.CostOf(kFunction), 1'300u);
  for (int i = 0; i < 60; ++i) core.Learn(kFunction, 3'000'000);
  EXPECT_GT(core.CostOf(kFunction), 2'900'000u);
}

TEST(DispatchCore, QueuesNothingBehindALongTask) {
  DispatchCore core = WithPairs(1);
  EXPECT_EQ(Fill(core, 10 * kMillisecond, 0), 1);
}

TEST(DispatchCore, ARelayWhoseTasksWereTakenBackWillHavePlaces) {
  DispatchCore core;
  core.Open(0, 1, 1000, 0);
  core.Open(1, 1, 1000, 0);
  EXPECT_FALSE(core.AnySettles(0)) << "both have places now";
  core.OnPushed(0, 0, kCost, 1);
  core.OnRecalled(0);
  EXPECT_FALSE(core.AnySettles(0)) << "what it has begun stays there";
  core.OnTakenBack(0, 1, kCost);
  EXPECT_TRUE(core.AnySettles(0));
  EXPECT_FALSE(core.AnySettles(1)) << "not for tasks of another shape";
  core.At(0).paused = false;
  EXPECT_FALSE(core.AnySettles(0));
}

TEST(DispatchCore, WaitsForTheBestWorkerRatherThanQueueElsewhere) {
  DispatchCore core = WithPairs(2);
  DispatchCore::Input last = Push(core, {}, 3 * kMillisecond);
  Push(core, {}, 10 * kMillisecond);
  last = Push(core, {last}, kMillisecond);
  ASSERT_EQ(last.pair, 0);
  EXPECT_EQ(core.Choose({&last, 1}, 2 * kMillisecond).pair, DispatchCore::kNone);
}

TEST(DispatchCore, PushesNothingToABlockedPausedOrFullWorker) {
  DispatchCore core = WithPairs(1);
  core.At(0).blocked = true;
  EXPECT_EQ(core.Choose({}, kCost).pair, DispatchCore::kNone);
  core.At(0).blocked = false;
  core.At(0).paused = true;
  EXPECT_EQ(core.Choose({}, kCost).pair, DispatchCore::kNone);
  core.At(0).paused = false;
  core.At(0).full = true;
  EXPECT_EQ(core.Choose({}, kCost).pair, DispatchCore::kNone);
}

TEST(DispatchCore, GivesNothingUrgentToWhoIsStuck) {
  DispatchCore core = WithPairs(2);
  core.OnPushed(0, 0, kCost, 0);
  for (int i = 0; i < 3; ++i) core.OnPushed(1, 0, kCost, 0);
  core.OnConsumed(1, 1, kCost, kMillisecond);
  EXPECT_EQ(core.ChooseUrgent([](int) { return true; }), 1);
}

TEST(DispatchCore, RecallsFromABlockedWorkerAtOnceAndOnce) {
  DispatchCore core = WithPairs(1);
  core.OnPushed(0, 0, kCost, 0);
  EXPECT_FALSE(core.ShouldRecall(0, 0));
  core.At(0).blocked = true;
  EXPECT_TRUE(core.ShouldRecall(0, 0));
  core.OnRecalled(0);
  core.At(0).paused = false;
  EXPECT_FALSE(core.ShouldRecall(0, 0)) << "nothing was pushed since";
}

TEST(DispatchCore, RecallsFromBehindALongTaskOnlyWhenAnotherWorkerIsIdle) {
  DispatchCore core = WithPairs(2);
  core.OnPushed(0, 0, kCost, 0);
  core.OnPushed(0, 0, kCost, 0);
  core.OnPushed(1, 0, kCost, 0);
  EXPECT_FALSE(core.ShouldRecall(0, 2 * kMillisecond));
  core.OnConsumed(1, 1, kCost, kMillisecond);
  EXPECT_TRUE(core.ShouldRecall(0, 2 * kMillisecond));
  EXPECT_FALSE(core.ShouldRecall(0, kMillisecond / 2));
}

TEST(DispatchCore, TakesTheOnlyTaskBackFromAWorkerThatRunsSomebodyElses) {
  DispatchCore core = WithPairs(2);
  core.OnPushed(0, 0, kCost, 0);
  EXPECT_FALSE(core.MayBeTaken(0, kMillisecond / 2));
  EXPECT_FALSE(core.ShouldRecall(0, 2 * kMillisecond)) << "it may be running";
  ASSERT_TRUE(core.MayBeTaken(0, 2 * kMillisecond));
  core.At(0).taken = true;
  EXPECT_EQ(core.Lost(0), 1u);
  EXPECT_TRUE(core.ShouldRecall(0, 2 * kMillisecond));
  core.OnPushed(1, 0, kCost, 2 * kMillisecond);
  EXPECT_FALSE(core.ShouldRecall(0, 2 * kMillisecond)) << "nobody has nothing to do";
  EXPECT_TRUE(core.ShouldRecall(0, 2 * kMillisecond, DispatchCore::Own::kWaits));
}

TEST(DispatchCore, TakesBackFromBehindALongTaskWhatThisProcessCouldRunItself) {
  DispatchCore core = WithPairs(1);
  core.OnPushed(0, 0, kCost, 0);
  core.OnPushed(0, 0, kCost, 0);
  EXPECT_FALSE(core.ShouldRecall(0, 2 * kMillisecond));
  EXPECT_FALSE(core.ShouldRecall(0, 2 * kMillisecond, DispatchCore::Own::kWaits)) << "the first of them will end";
  EXPECT_TRUE(core.ShouldRecall(0, 2 * kMillisecond, DispatchCore::Own::kIdle));
}

TEST(DispatchCore, TakesBackWhatWaitsForInputsWhenNobodyCanGoOnAndMoreTasksWait) {
  const std::int64_t later = DispatchCore::kAllStarveNanos;
  DispatchCore core = WithPairs(3);
  for (int pair : {0, 1}) {
    core.OnPushed(pair, 0, kCost, 0);
    core.At(pair).starved = true;
  }
  EXPECT_FALSE(core.IsInTheWay(0, later, false)) << "there is nothing that it could keep from beginning";
  EXPECT_FALSE(core.IsInTheWay(0, later / 2, true));
  EXPECT_TRUE(core.IsInTheWay(0, later, true));
  core.At(1).starved = false;
  EXPECT_FALSE(core.IsInTheWay(0, later, true)) << "that one may make what it waits for";
  core.At(1).starved = true;
  core.At(1).blocked = true;
  EXPECT_FALSE(core.IsInTheWay(0, later, true)) << "another worker may come in its place";
  core.At(1).blocked = false;
  core.At(1).places = 1;
  EXPECT_FALSE(core.IsInTheWay(0, later, true)) << "nobody knows what runs over there";
  core.Close(1);
  core.OnPushed(0, 0, kCost, 0);
  EXPECT_TRUE(core.IsInTheWay(0, later, false)) << "what it waits for may lie behind it";
}

TEST(DispatchCore, KnowsForHowLongNothingHasEndedHereAndElsewhere) {
  DispatchCore core;
  core.Open(0);
  core.Open(1, 4);
  EXPECT_EQ(core.SilentFor(0, kMillisecond), -1);
  EXPECT_EQ(core.SilentFor(0, kMillisecond, true), -1);
  core.OnPushed(0, 0, kCost, kMillisecond);
  core.OnPushed(1, 0, kCost, 2 * kMillisecond);
  EXPECT_EQ(core.SilentFor(0, 4 * kMillisecond), 3 * kMillisecond);
  EXPECT_EQ(core.SilentFor(0, 4 * kMillisecond, true), 2 * kMillisecond);
}

TEST(DispatchCore, GivesWhatWasTakenBackToNobodyWhoIsStuckHoweverIdleHeLooks) {
  DispatchCore core = WithPairs(2);
  const auto anywhere = [](int) { return true; };
  core.OnPushed(0, 0, kCost, 0);
  core.OnRecalled(0);
  core.OnTakenBack(0, 1, kCost);
  EXPECT_EQ(core.ChooseUrgent(anywhere), 1) << "the other has not said yet that it gives it back";
  EXPECT_FALSE(core.IsFree(0));
  core.OnPushed(1, 0, kCost, 0);
  core.Tick(2 * kMillisecond);
  EXPECT_EQ(core.ChooseUrgent(anywhere), DispatchCore::kNone);
  core.At(0).paused = false;
  EXPECT_EQ(core.ChooseUrgent(anywhere), 0);
  core.At(0).taken = true;
  EXPECT_EQ(core.ChooseUrgent(anywhere), DispatchCore::kNone);
}

TEST(DispatchCore, WantsNoMoreWorkersThanTasksOrSlots) {
  EXPECT_EQ(DispatchCore::Want(0, 4), 0u);
  EXPECT_EQ(DispatchCore::Want(3, 4), 3u);
  EXPECT_EQ(DispatchCore::Want(1000, 4), 4u);
}

TEST(DispatchCoreDeathTest, AbortsWhenMoreIsConsumedThanWasPushed) {
  DispatchCore core = WithPairs(1);
  EXPECT_DEATH(core.OnConsumed(0, 1, kCost, 0), "in_flight");
}

// ---- relays, and where bytes lie ----------------------------------------------------------------------------------

TEST(DispatchCore, StaysWhereTheBytesAreUntilWaitingTakesLongerThanMovingThem) {
  DispatchCore core;
  core.Open(0, 1);
  core.Open(1, 1);
  const std::vector<std::int64_t> moves = {15 * kMillisecond, 0};
  int there = 0, elsewhere = 0;
  for (int i = 0; i < 3; ++i) {
    const auto choice = core.Choose({}, 10 * kMillisecond, 0, 0, moves);
    ASSERT_NE(choice.pair, DispatchCore::kNone);
    core.OnPushed(choice.pair, choice.start, 10 * kMillisecond, 0);
    ++(choice.pair == 1 ? there : elsewhere);
  }
  EXPECT_EQ(there, 2) << "the second waits 10 ms, the third would wait 20";
  EXPECT_EQ(elsewhere, 1);
}

TEST(DispatchCore, CountsWhatHasNotBegunAndTakesItBackForAFreePlaceElsewhere) {
  DispatchCore core = WithPairs(1);
  for (int i = 0; i < 3; ++i) core.OnPushed(0, 0, kCost, 0);
  EXPECT_EQ(core.NotBegun(0), 2u);
  EXPECT_EQ(core.SilentFor(0, 30 * kMillisecond), 30 * kMillisecond);
  EXPECT_FALSE(core.ShouldRecall(0, 30 * kMillisecond));
  core.Open(1, 2);
  core.OnPushed(1, 0, kCost, 30 * kMillisecond);
  EXPECT_EQ(core.PlacesInUse(0), 1u);
  EXPECT_TRUE(core.ShouldRecall(0, 30 * kMillisecond)) << "one of its two places is free";
  core.OnPushed(1, 0, kCost, 30 * kMillisecond);
  EXPECT_FALSE(core.ShouldRecall(0, 30 * kMillisecond));
  EXPECT_EQ(core.NotBegun(0), 2u);
}

TEST(DispatchCore, TakesNothingBackFromAMachineForOnePlaceOfAnother) {
  DispatchCore core;
  for (const int relay : {0, 1}) core.Open(relay, 2);
  for (int i = 0; i < 3; ++i) core.OnPushed(0, 0, kCost, 0);
  core.OnPushed(1, 0, kCost, 0);
  EXPECT_FALSE(core.ShouldRecall(0, 2 * kMillisecond));
  core.OnConsumed(1, 1, kCost, 0);
  EXPECT_TRUE(core.ShouldRecall(0, 2 * kMillisecond));
}

TEST(DispatchCore, WaitsForAWorkerHereRatherThanSendLargeInputsAway) {
  DispatchCore core;
  core.Open(0);
  core.Open(1, 4);
  const std::vector<std::int64_t> moves = {0, 500 * kMillisecond};
  for (int i = 0; i < 10; ++i) {
    const auto choice = core.Choose({}, kMillisecond, 0, 0, moves);
    EXPECT_NE(choice.pair, 1);
    if (choice.pair == 0) core.OnPushed(0, choice.start, kMillisecond, 0);
  }
}

}  // namespace
}  // namespace sheaf::runtime
