// The pool's bookkeeping: attach, budget, segments, and the two steps in which the dead go.
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/random.h"
#include "tests/worker/pool_core_fixture.h"

namespace sheaf::testing {
namespace {

using wire::ClientState;
using wire::Refusal;
using wire::SegmentKind;

class PoolCoreTest : public PoolCoreFixture {
 protected:
  using PoolCoreFixture::PoolCoreFixture;
};

TEST_F(PoolCoreTest, ShowsTheDeathInThePageBeforeItTellsAnybody) {
  const ClientId driver = Driver(), worker = Worker(driver);
  const auto actions = Die(worker);
  ASSERT_GE(actions.size(), 2u);
  const auto* first = std::get_if<pool::WriteState>(&actions[0]);
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(first->state, ClientState::kDead);
  EXPECT_EQ(All<pool::SendGone>(actions).size(), 1u);
  EXPECT_EQ(All<pool::SendGone>(actions)[0].status, 9);
}

TEST_F(PoolCoreTest, KeepsADeadWorkersMemoryUntilEverybodyHasAcknowledged) {
  const ClientId driver = Driver(), dead = Worker(driver), other = Worker(driver);
  const std::uint64_t before = core_->used_bytes();
  EXPECT_TRUE(All<pool::SendForgotten>(Die(dead)).empty());
  EXPECT_TRUE(core_->OpenSegment(other, dead, 2)) << "what it published stays readable";
  EXPECT_TRUE(All<pool::SendForgotten>(Ack(driver, dead)).empty());
  EXPECT_EQ(core_->used_bytes(), before);
  const auto actions = Ack(other, dead);
  EXPECT_EQ(All<pool::SendForgotten>(actions).size(), 2u);
  EXPECT_EQ(All<pool::DropSegment>(actions).size(), 3u);
  EXPECT_EQ(core_->used_bytes(), before - core_->FirstBytes());
  EXPECT_EQ(core_->OpenSegment(other, dead, 2).why, Refusal::kGone);
}

TEST_F(PoolCoreTest, ForgetsTwoDeadThatOnlyWaitForEachOther) {
  const ClientId driver = Driver(), a = Worker(driver), b = Worker(driver);
  Die(a);          // b and the driver owe an answer
  Ack(driver, a);  // b still holds a
  Die(b);
  EXPECT_NE(core_->Find(a), nullptr);
  Ack(driver, b);
  EXPECT_EQ(core_->Find(a), nullptr);
  EXPECT_EQ(core_->Find(b), nullptr);
}

TEST_F(PoolCoreTest, KeepsADeadOneThatADeadReaderOfALivingClientMayHaveLent) {
  const ClientId driver = Driver(), a = Worker(driver), b = Worker(driver);
  Die(a);
  Ack(driver, a);
  const auto actions = Die(b);  // b had not answered for a; the driver may hold what b lent it
  EXPECT_TRUE(All<pool::SendForgotten>(actions).empty());
  EXPECT_NE(core_->Find(a), nullptr);
}

TEST_F(PoolCoreTest, NeverReusesAnIndexBeforeTheDeadIsForgotten) {
  const ClientId driver = Driver(), dead = Worker(driver);
  Die(dead);
  const ClientId next = Worker(driver);
  EXPECT_NE(IndexOf(next), IndexOf(dead));
  Ack(driver, dead);
  const ClientId reused = Worker(driver);
  EXPECT_EQ(IndexOf(reused), IndexOf(dead));
  EXPECT_NE(reused, dead) << "another incarnation";
}

TEST_F(PoolCoreTest, DoesNotTellOfAWorkerThatNobodyHasSeen) {
  const ClientId driver = Driver();
  PoolCore::Actions actions;
  ClientId worker = 0;
  ASSERT_TRUE(core_->AddWorker(driver, kBuild, &worker, &actions));
  const auto told = Die(worker);
  EXPECT_TRUE(All<pool::SendGone>(told).empty());
  EXPECT_EQ(core_->Find(worker), nullptr);
}

TEST_F(PoolCoreTest, EndsAJobWithItsDriverAndDropsEverythingAfterTheLastWorker) {
  const ClientId driver = Driver(), a = Worker(driver), b = Worker(driver);
  Segment(a, SegmentKind::kLarge, 10 * kMiB);
  const auto ending = Die(driver);
  EXPECT_EQ(All<pool::EndWorker>(ending).size(), 2u);
  EXPECT_TRUE(All<pool::JobOver>(ending).empty());
  EXPECT_TRUE(All<pool::JobOver>(Die(a)).empty());
  EXPECT_EQ(All<pool::JobOver>(Die(b)).size(), 1u);
  EXPECT_EQ(core_->used_bytes(), 0u);
  EXPECT_TRUE(core_->clients().empty());
}

TEST_F(PoolCoreTest, EndsAJobWhoseDriverSaysGoodbyeAndLivesOn) {
  const ClientId driver = Driver(), worker = Worker(driver);
  PoolCore::Actions actions;
  core_->DriverLeft(driver, &actions);
  EXPECT_EQ(All<pool::EndWorker>(actions).size(), 1u);
  EXPECT_EQ(core_->Find(driver)->state, ClientState::kAlive) << "its process is not dead";
  EXPECT_EQ(All<pool::JobOver>(Die(worker)).size(), 1u);
  EXPECT_EQ(core_->used_bytes(), 0u);
}

TEST_F(PoolCoreTest, AGoodbyeSettlesWhatTheDriverStillOwed) {
  const ClientId driver = Driver(), a = Worker(driver), b = Worker(driver);
  Die(a);
  Ack(b, a);
  PoolCore::Actions actions;
  core_->DriverLeft(driver, &actions);
  EXPECT_EQ(core_->Find(a), nullptr);
}

TEST_F(PoolCoreTest, RefusesAWorkerOfAnotherProgramAndOneWhoseJobIsOver) {
  const ClientId driver = Driver();
  const std::uint64_t other[4] = {1, 2, 3, 5};
  PoolCore::Actions actions;
  ClientId worker = 0;
  const auto verdict = core_->AddWorker(driver, other, &worker, &actions);
  EXPECT_EQ(verdict.why, Refusal::kInvalid);
  EXPECT_NE(verdict.text.find("another program"), std::string::npos);
  core_->DriverLeft(driver, &actions);
  EXPECT_EQ(core_->AddWorker(driver, kBuild, &worker, &actions).why, Refusal::kGone);
}

TEST_F(PoolCoreTest, HoldsTheBudgetAndSaysWhatToDo) {
  const ClientId driver = Driver();
  std::uint32_t segment = 0;
  const auto verdict = core_->MakeSegment(driver, SegmentKind::kLarge, 256 * kMiB, &segment);
  EXPECT_EQ(verdict.why, Refusal::kOutOfMemory);
  EXPECT_NE(verdict.text.find("--store"), std::string::npos);
  EXPECT_TRUE(core_->MakeSegment(driver, SegmentKind::kLarge, 200 * kMiB, &segment));
  EXPECT_EQ(core_->MakeSegment(driver, SegmentKind::kLarge, 100 * kMiB, &segment).why, Refusal::kOutOfMemory);
  EXPECT_FALSE(core_->SegmentMade(driver, segment, false)) << "the machine had no memory";
  EXPECT_EQ(core_->used_bytes(), core_->FirstBytes());
}

TEST_F(PoolCoreTest, RefusesSizesAndKindsThatMakeNoSense) {
  const ClientId driver = Driver();
  std::uint32_t segment = 0;
  EXPECT_EQ(core_->MakeSegment(driver, SegmentKind::kControl, 4096, &segment).why, Refusal::kInvalid);
  EXPECT_EQ(core_->MakeSegment(driver, SegmentKind::kArena, 0, &segment).why, Refusal::kLimit);
  EXPECT_EQ(core_->MakeSegment(driver, SegmentKind::kArena, ~std::uint64_t{0}, &segment).why, Refusal::kLimit);
  EXPECT_EQ(core_->MakeSegment(driver + 1, SegmentKind::kArena, 4096, &segment).why, Refusal::kInvalid);
}

TEST_F(PoolCoreTest, LendsASegmentOnlyOnceItIsSealedAndOnlyWithinTheJob) {
  const ClientId driver = Driver(), worker = Worker(driver), stranger = Driver();
  std::uint32_t segment = 0;
  PoolCore::Actions actions;
  ASSERT_TRUE(core_->MakeSegment(driver, SegmentKind::kLarge, kMiB, &segment));
  EXPECT_EQ(core_->OpenSegment(worker, driver, segment).why, Refusal::kInvalid);
  EXPECT_FALSE(core_->SegmentMapped(driver, segment, &actions)) << "it was not given to it yet";
  ASSERT_TRUE(core_->SegmentMade(driver, segment, true));
  EXPECT_EQ(core_->OpenSegment(worker, driver, segment).why, Refusal::kInvalid);
  ASSERT_TRUE(core_->SegmentMapped(driver, segment, &actions));
  EXPECT_FALSE(core_->SegmentMapped(driver, segment, &actions)) << "said twice";
  EXPECT_TRUE(core_->OpenSegment(worker, driver, segment));
  EXPECT_EQ(core_->OpenSegment(stranger, driver, segment).why, Refusal::kGone);
}

TEST_F(PoolCoreTest, TellsTheReadersOfADroppedSegmentAndNobodyElse) {
  const ClientId driver = Driver(), reader = Worker(driver);
  Worker(driver);
  const std::uint32_t segment = Segment(driver, SegmentKind::kLarge, kMiB);
  ASSERT_TRUE(core_->OpenSegment(reader, driver, segment));
  PoolCore::Actions actions;
  ASSERT_TRUE(core_->DropSegment(driver, segment, &actions));
  ASSERT_EQ(All<pool::SendSegmentGone>(actions).size(), 1u);
  EXPECT_EQ(All<pool::SendSegmentGone>(actions)[0].to, reader);
  EXPECT_FALSE(core_->DropSegment(driver, segment, &actions)) << "dropped twice";
  EXPECT_FALSE(core_->DropSegment(driver, 0, &actions)) << "the control segment stays";
  EXPECT_FALSE(core_->DropSegment(driver, 1, &actions)) << "home words live in it";
}

TEST_F(PoolCoreTest, CallsAnAcknowledgementOfTheLivingNonsense) {
  const ClientId driver = Driver(), worker = Worker(driver);
  PoolCore::Actions actions;
  EXPECT_FALSE(core_->Acknowledge(driver, worker, &actions));
  EXPECT_TRUE(core_->Acknowledge(driver, 0xfffff123, &actions)) << "may be forgotten since";
}

// ---- heirs (docs/decisions/0011) --------------------------------------------------------------------------------

TEST_F(PoolCoreTest, SettlesADeathOnceEverybodyHasNamedItsHeirs) {
  const ClientId driver = Driver(), dead = Worker(driver), other = Worker(driver);
  EXPECT_TRUE(All<pool::SendSettled>(Die(dead)).empty());
  PoolCore::Actions actions;
  EXPECT_TRUE(core_->HeirsTold(other, dead, &actions));
  EXPECT_TRUE(core_->NameHeirs(driver, dead, {{7, 1, driver, 3, 2}, {8, 1, driver, 4, 2}}, &actions));
  EXPECT_TRUE(All<pool::SendSettled>(actions).empty());
  ASSERT_EQ(All<pool::SendHeirs>(actions).size(), 2u) << "the driver and the other worker";
  EXPECT_EQ(All<pool::SendHeirs>(actions)[0].heirs.size(), 2u);
  EXPECT_TRUE(core_->HeirsTold(driver, dead, &actions));
  EXPECT_EQ(All<pool::SendSettled>(actions).size(), 2u);
}

TEST_F(PoolCoreTest, DoesNotWaitForHeirsOfThoseThatDieThemselves) {
  const ClientId driver = Driver(), dead = Worker(driver), other = Worker(driver);
  Die(dead);
  PoolCore::Actions actions;
  EXPECT_TRUE(core_->HeirsTold(driver, dead, &actions));
  EXPECT_TRUE(All<pool::SendSettled>(actions).empty());
  const auto settled = All<pool::SendSettled>(Die(other));
  ASSERT_EQ(settled.size(), 1u);
  EXPECT_EQ(settled[0].dead, dead);
}

TEST_F(PoolCoreTest, TellsANewcomerOfHeirsAndSettlementsBeforeItIsShown) {
  const ClientId driver = Driver(), dead = Worker(driver), unsettled = Worker(driver);
  Die(dead);
  Die(unsettled);
  PoolCore::Actions actions;
  EXPECT_TRUE(core_->NameHeirs(driver, dead, {{7, 1, driver, 3, 2}}, &actions));
  EXPECT_TRUE(core_->HeirsTold(driver, dead, &actions));
  actions.clear();
  ClientId late = 0;
  ASSERT_TRUE(core_->AddWorker(driver, kBuild, &late, &actions));
  actions.clear();
  ASSERT_TRUE(core_->Attached(late, &actions));
  ASSERT_EQ(actions.size(), 3u);
  EXPECT_EQ(std::get<pool::SendHeirs>(actions[0]).heirs.size(), 1u);
  EXPECT_EQ(std::get<pool::SendSettled>(actions[1]).dead, dead);
  EXPECT_EQ(std::get<pool::WriteState>(actions[2]).state, ClientState::kAlive);
}

TEST_F(PoolCoreTest, KeepsADeadOneWhoseObjectsAreHeirsUntilTheyInheritNothingMore) {
  const ClientId driver = Driver(), first = Worker(driver), heir = Worker(driver);
  Die(first);
  PoolCore::Actions actions;
  EXPECT_TRUE(core_->NameHeirs(heir, first, {{7, 1, heir, 3, 2}}, &actions));
  Ack(heir, first);
  Die(heir);
  Ack(driver, heir);
  EXPECT_NE(core_->Find(heir), nullptr) << "who reads it has pinned the first one";
  Ack(driver, first);
  EXPECT_EQ(core_->Find(heir), nullptr);
  EXPECT_EQ(core_->Find(first), nullptr);
}

TEST_F(PoolCoreTest, TellsTheLastLivingOneThatItIsAloneWithTheDead) {
  const ClientId driver = Driver(), first = Worker(driver), second = Worker(driver), third = Worker(driver);
  Die(first);
  PoolCore::Actions actions;
  EXPECT_TRUE(core_->Acknowledge(third, first, &actions));
  EXPECT_TRUE(All<pool::SendAlone>(actions).empty()) << "the second one lives";
  actions.clear();
  core_->Died(second, 0, &actions);
  auto alone = All<pool::SendAlone>(actions);
  ASSERT_EQ(alone.size(), 0u) << "the third one still looks at the second, which may have lent of the first";
  actions.clear();
  EXPECT_TRUE(core_->Acknowledge(third, second, &actions));
  alone = All<pool::SendAlone>(actions);
  ASSERT_EQ(alone.size(), 2u);
  for (const auto& told : alone) EXPECT_EQ(told.to, driver);
  actions.clear();
  Ack(driver, first);
  EXPECT_NE(core_->Find(first), nullptr) << "the second one may have lent of it";
  Ack(driver, second);
  EXPECT_EQ(core_->Find(first), nullptr);
  EXPECT_EQ(core_->Find(second), nullptr);
}

TEST_F(PoolCoreTest, TellsWhoIsAloneAlsoOfTheDeadThatItHasAcknowledged) {
  const ClientId driver = Driver(), borrower = Worker(driver), maker = Worker(driver);
  Die(borrower);
  // Nothing here names it, but what was lent to it stays: a result, say, that the other one made meanwhile.
  Ack(driver, borrower);
  PoolCore::Actions actions;
  core_->Died(maker, 9, &actions);  // and had not answered
  std::set<ClientId> alone_with;
  for (const auto& told : All<pool::SendAlone>(actions)) alone_with.insert(told.dead);
  EXPECT_EQ(alone_with, (std::set<ClientId>{borrower, maker})) << "or the loan stays, and with it both";
}

TEST_F(PoolCoreTest, RefusesHeirsThatAreNotTheSendersToName) {
  const ClientId driver = Driver(), dead = Worker(driver), alive = Worker(driver), stranger = Driver();
  PoolCore::Actions actions;
  EXPECT_FALSE(core_->NameHeirs(driver, alive, {{7, 1, driver, 3, 2}}, &actions)) << "it lives";
  Die(dead);
  EXPECT_FALSE(core_->NameHeirs(stranger, dead, {{7, 1, stranger, 3, 2}}, &actions)) << "another job's";
  EXPECT_FALSE(core_->NameHeirs(driver, dead, {{6, 1, driver, 3, 2}, {7, 1, alive, 3, 2}}, &actions))
      << "another's object";
  EXPECT_FALSE(core_->HeirsTold(driver, alive, &actions));
  EXPECT_TRUE(All<pool::SendHeirs>(actions).empty()) << "and nothing of it was taken";
  EXPECT_TRUE(core_->NameHeirs(driver, dead, {{7, 1, driver, 3, 2}}, &actions));
  actions.clear();
  EXPECT_TRUE(core_->NameHeirs(alive, dead, {{7, 1, alive, 9, 9}}, &actions));
  EXPECT_TRUE(All<pool::SendHeirs>(actions).empty()) << "the first one counts";
}

TEST_F(PoolCoreTest, BoundsTheHeirsOfAJob) {
  const ClientId driver = Driver(), dead = Worker(driver), late = Worker(driver);
  Die(dead);
  PoolCore::Actions actions;
  for (std::uint32_t slot = 0; slot < limits::kHeirsMax + 10; ++slot)
    EXPECT_TRUE(core_->NameHeirs(driver, dead, {{slot, 1, driver, slot, 2}}, &actions));
  EXPECT_EQ(core_->Find(dead)->heirs.size(), limits::kHeirsMax);
  Die(late);
  EXPECT_TRUE(core_->NameHeirs(driver, late, {{1, 1, driver, 3, 2}}, &actions));
  EXPECT_TRUE(core_->Find(late)->heirs.empty());
}

class SmallPoolCoreTest : public PoolCoreTest {
 protected:
  SmallPoolCoreTest() : PoolCoreTest(2) {}
};

TEST_F(SmallPoolCoreTest, RefusesAClientBeyondItsIndices) {
  const ClientId driver = Driver();
  Worker(driver);
  PoolCore::Actions actions;
  ClientId client = 0;
  EXPECT_EQ(core_->AddWorker(driver, kBuild, &client, &actions).why, Refusal::kLimit);
}

// Random attaches, segments, deaths, answers: the invariants hold after each step, and in the end nothing is left.
TEST_F(PoolCoreTest, EndsEmptyAfterAnyOrderOfDeathsAndAnswers) {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    PoolCore::Config config;
    config.budget_bytes = 64 * kMiB;
    config.clients_max = 24;
    core_ = std::make_unique<PoolCore>(config);
    Random random(seed);
    std::vector<std::pair<ClientId, ClientId>> owed;  // who, for whom
    std::set<ClientId> drivers, alive;
    const auto take = [&](const PoolCore::Actions& actions) {
      for (const auto& gone : All<pool::SendGone>(actions)) owed.emplace_back(gone.to, gone.peer);
      core_->Check();
    };
    const auto pick = [&](const std::set<ClientId>& from) {
      return *std::next(from.begin(), static_cast<long>(random.Below(from.size())));
    };
    for (int step = 0; step < 300; ++step) {
      PoolCore::Actions actions;
      ClientId client = 0;
      const auto kind = random.Below(8);
      if (kind == 0 && drivers.size() < 3) {
        if (core_->AddDriver(kBuild, &client, &actions)) {
          core_->Attached(client, &actions);
          drivers.insert(client);
          alive.insert(client);
        }
      } else if (kind <= 3 && !drivers.empty()) {
        if (core_->AddWorker(pick(drivers), kBuild, &client, &actions)) {
          core_->Attached(client, &actions);
          alive.insert(client);
        }
      } else if (kind == 4 && !alive.empty()) {
        client = pick(alive);
        std::uint32_t segment = 0;
        if (core_->MakeSegment(client, SegmentKind::kLarge, 4096 * (1 + random.Below(1000)), &segment) &&
            core_->SegmentMade(client, segment, random.Below(4) != 0)) {
          core_->SegmentMapped(client, segment, &actions);
        }
      } else if (kind == 5 && !alive.empty()) {
        client = pick(alive);
        alive.erase(client);
        drivers.erase(client);
        core_->Died(client, 9, &actions);
      } else if (kind == 6 && !drivers.empty() && random.Below(4) == 0) {
        client = pick(drivers);
        drivers.erase(client);
        core_->DriverLeft(client, &actions);
      } else if (!owed.empty()) {
        const auto at = owed.begin() + static_cast<long>(random.Below(owed.size()));
        const auto [who, dead] = *at;
        owed.erase(at);
        if (alive.contains(who)) {
          if (random.Below(2) == 0) core_->NameHeirs(who, dead, {{7, 1, who, 3, 2}}, &actions);
          if (random.Below(4) != 0) core_->HeirsTold(who, dead, &actions);
          EXPECT_TRUE(core_->Acknowledge(who, dead, &actions));
        }
      }
      take(actions);
    }
    for (const ClientId client : std::set<ClientId>(alive)) {
      PoolCore::Actions actions;
      core_->Died(client, 9, &actions);
      take(actions);
    }
    EXPECT_TRUE(core_->clients().empty()) << "seed " << seed;
    EXPECT_EQ(core_->used_bytes(), 0u) << "seed " << seed;
  }
}

}  // namespace
}  // namespace sheaf::testing
