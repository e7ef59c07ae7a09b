// Segments whose bytes lie on another machine until somebody reads them (docs/decisions/0012), as the pool keeps them.
#include "tests/worker/away_fixture.h"

namespace sheaf::testing {
namespace {

TEST_F(PoolCoreAwayTest, CostsNothingUntilItsOwnerBringsIt) {
  const ClientId driver = Driver();
  const std::uint64_t before = core_->used_bytes() + core_->FirstBytes();
  const ClientId relay = Relay(driver, {kFirst, kFirst + 1});
  EXPECT_EQ(core_->used_bytes(), before);
  const std::uint32_t next = core_->Find(relay)->next_segment;
  Bring(relay, kFirst);
  EXPECT_EQ(core_->used_bytes(), before + 5 * kMiB + 4096);
  EXPECT_EQ(core_->Find(relay)->next_segment, next) << "numbers of segments with memory are not used up";
  Drop(relay, kFirst);
  EXPECT_EQ(core_->used_bytes(), before);
}

TEST_F(PoolCoreAwayTest, AReaderWaitsUntilItsBytesAreHere) {
  const ClientId driver = Driver(), relay = Relay(driver, {kFirst}), worker = Worker(driver);
  const auto asked = Read(worker, relay, kFirst);
  ASSERT_EQ(asked.size(), 1u) << "no answer yet";
  EXPECT_EQ(All<pool::SendWanted>(asked).at(0).to, relay);
  EXPECT_EQ(All<pool::SendWanted>(asked).at(0).segment, kFirst);
  Fill(relay, kFirst);
  EXPECT_TRUE(Read(driver, relay, kFirst).empty()) << "waits as well";
  PoolCore::Actions actions;
  ASSERT_TRUE(core_->SegmentMapped(relay, kFirst, &actions));
  const auto answers = All<pool::AnswerOpen>(actions);
  ASSERT_EQ(answers.size(), 2u);
  EXPECT_EQ(answers[0].to, worker);
  EXPECT_EQ(answers[0].request, 101u);
  EXPECT_EQ(answers[1].to, driver);
  EXPECT_EQ(answers[1].request, 102u);
  EXPECT_EQ(answers[1].at, (SegmentPlace{relay, kFirst}));
  EXPECT_EQ(answers[1].asked, (SegmentPlace{relay, kFirst}));
  const auto late = Read(worker, relay, kFirst);
  ASSERT_EQ(late.size(), 1u);
  EXPECT_EQ(All<pool::AnswerOpen>(late).size(), 1u) << "what is here is opened at once";
  EXPECT_EQ(All<pool::SendSegmentGone>(Drop(relay, kFirst)).size(), 2u) << "it has readers as any segment";
}

TEST_F(PoolCoreAwayTest, WhoDoesNotWaitGetsTheOfferUntilItIsHere) {
  const ClientId driver = Driver(), relay = Relay(driver, {kFirst});
  for (const bool filling : {false, true}) {
    if (filling) Fill(relay, kFirst);
    const auto actions = Now(driver, relay, kFirst);
    ASSERT_EQ(actions.size(), 1u) << "and nobody fetches for it";
    const auto away = All<pool::AnswerAway>(actions).at(0);
    EXPECT_EQ(away.at, (SegmentPlace{relay, kFirst}));
  }
  EXPECT_EQ(core_->Find(relay)->away.at(kFirst).offer[0], static_cast<std::uint8_t>(kFirst));
  PoolCore::Actions actions;
  ASSERT_TRUE(core_->SegmentMapped(relay, kFirst, &actions));
  EXPECT_EQ(All<pool::AnswerOpen>(Now(driver, relay, kFirst)).size(), 1u);
}

TEST_F(PoolCoreAwayTest, ItsOwnerIsToldOnceAndAgainAfterItCouldNotFetch) {
  const ClientId driver = Driver(), relay = Relay(driver, {kFirst}), worker = Worker(driver);
  EXPECT_EQ(All<pool::SendWanted>(Read(worker, relay, kFirst)).size(), 1u);
  EXPECT_EQ(All<pool::SendWanted>(Read(driver, relay, kFirst)).size(), 0u);
  PoolCore::Actions actions;
  core_->Fetch(driver, {relay, kFirst}, &actions);
  EXPECT_TRUE(actions.empty());
  const auto refused = All<pool::RefuseOpen>(NotFetched(relay, kFirst));
  ASSERT_EQ(refused.size(), 2u);
  EXPECT_EQ(refused[0].why, Refusal::kOutOfMemory);
  EXPECT_EQ(refused[0].text, "no room");
  EXPECT_EQ(All<pool::SendWanted>(Read(worker, relay, kFirst)).size(), 1u);
  EXPECT_EQ(All<pool::AnswerOpen>(Bring(relay, kFirst)).size(), 1u) << "those who were refused wait no more";
}

TEST_F(PoolCoreAwayTest, WhatWillBeReadSoonIsFetchedAndNobodyWaits) {
  const ClientId driver = Driver(), relay = Relay(driver, {kFirst});
  PoolCore::Actions actions;
  core_->Fetch(driver, {relay, kFirst}, &actions);
  EXPECT_EQ(All<pool::SendWanted>(actions).size(), 1u);
  EXPECT_TRUE(Read(driver, relay, kFirst).empty()) << "it knows already";
  Bring(relay, kFirst);
  actions.clear();
  core_->Fetch(driver, {relay, kFirst}, &actions);
  core_->Fetch(driver, {relay, kFirst + 1}, &actions);
  core_->Fetch(driver, {relay, 2}, &actions);
  EXPECT_TRUE(actions.empty());
}

TEST_F(PoolCoreAwayTest, MemoryOfAFailedFetchGoesBack) {
  const ClientId driver = Driver(), relay = Relay(driver, {kFirst});
  const std::uint64_t before = core_->used_bytes();
  Read(driver, relay, kFirst);
  Fill(relay, kFirst);
  EXPECT_GT(core_->used_bytes(), before);
  const auto actions = NotFetched(relay, kFirst);
  EXPECT_EQ(All<pool::DropSegment>(actions).size(), 1u);
  EXPECT_EQ(All<pool::RefuseOpen>(actions).size(), 1u);
  EXPECT_EQ(core_->used_bytes(), before);
  EXPECT_EQ(StateOf(relay, kFirst), State::kAway);
  Bring(relay, kFirst);
  EXPECT_TRUE(NotFetched(relay, kFirst).empty()) << "it is here: nothing changes that";
  EXPECT_EQ(StateOf(relay, kFirst), State::kHere);
}

TEST_F(PoolCoreAwayTest, MemoryThatIsStillBeingMadeGoesBackWhenItIs) {
  const ClientId driver = Driver(), relay = Relay(driver, {kFirst, kFirst + 1});
  const std::uint64_t before = core_->used_bytes();
  for (const std::uint32_t segment : {kFirst, kFirst + 1})
    ASSERT_TRUE(core_->FillAway(relay, segment, SegmentKind::kLarge, kBytes));
  NotFetched(relay, kFirst);
  EXPECT_TRUE(All<pool::DropSegment>(Drop(relay, kFirst + 1)).empty());
  EXPECT_EQ(core_->FillAway(relay, kFirst, SegmentKind::kLarge, kBytes).why, Refusal::kLater);
  EXPECT_FALSE(core_->AddAway(relay, {Entry(kFirst + 1)})) << "the number still has memory";
  for (const std::uint32_t segment : {kFirst, kFirst + 1}) EXPECT_FALSE(core_->SegmentMade(relay, segment, true));
  EXPECT_EQ(core_->used_bytes(), before);
  EXPECT_TRUE(core_->FillAway(relay, kFirst, SegmentKind::kLarge, kBytes));
  EXPECT_TRUE(core_->AddAway(relay, {Entry(kFirst + 1)}));
}

TEST_F(PoolCoreAwayTest, WhoWaitsGoesOnWaitingWhereThereIsNoMemory) {
  const ClientId driver = Driver(), relay = Relay(driver, {kFirst});
  ASSERT_TRUE(core_->AddAway(relay, {Entry(kFirst + 1, 1024 * kMiB)}));
  EXPECT_EQ(core_->FillAway(relay, kFirst + 1, SegmentKind::kLarge, 1024 * kMiB).why, Refusal::kOutOfMemory);
  EXPECT_EQ(StateOf(relay, kFirst + 1), State::kAway);
  const std::uint64_t before = core_->used_bytes();
  ASSERT_TRUE(core_->FillAway(relay, kFirst, SegmentKind::kLarge, kBytes));
  EXPECT_EQ(All<pool::SendWanted>(Read(driver, relay, kFirst)).size(), 1u) << "it was not asked before";
  EXPECT_FALSE(core_->SegmentMade(relay, kFirst, false)) << "the machine had none";
  core_->Check();
  EXPECT_EQ(core_->used_bytes(), before);
  EXPECT_EQ(StateOf(relay, kFirst), State::kAway);
  EXPECT_EQ(All<pool::AnswerOpen>(Bring(relay, kFirst)).size(), 1u);
}

TEST_F(PoolCoreAwayTest, GivesMemoryOnlyToItsOwnerOnceAndAsItWasAnnounced) {
  const ClientId driver = Driver(), relay = Relay(driver, {kFirst});
  EXPECT_EQ(core_->FillAway(driver, kFirst, SegmentKind::kLarge, kBytes).why, Refusal::kGone);
  EXPECT_EQ(core_->FillAway(relay, kFirst + 1, SegmentKind::kLarge, kBytes).why, Refusal::kGone);
  EXPECT_EQ(core_->FillAway(relay, 2, SegmentKind::kLarge, kBytes).why, Refusal::kGone);
  EXPECT_EQ(core_->FillAway(relay, kFirst, SegmentKind::kLarge, kBytes + 1).why, Refusal::kInvalid);
  EXPECT_EQ(core_->FillAway(relay, kFirst, SegmentKind::kArena, kBytes).why, Refusal::kInvalid);
  Fill(relay, kFirst);
  EXPECT_EQ(core_->FillAway(relay, kFirst, SegmentKind::kLarge, kBytes).why, Refusal::kInvalid);
}

TEST_F(PoolCoreAwayTest, ADropRefusesWhoWaitsAndFreesTheNumber) {
  const ClientId driver = Driver(), relay = Relay(driver, {kFirst});
  Read(driver, relay, kFirst);
  const auto actions = Drop(relay, kFirst);
  ASSERT_EQ(actions.size(), 1u) << "there was no memory to close";
  EXPECT_EQ(All<pool::RefuseOpen>(actions).at(0).why, Refusal::kGone);
  EXPECT_EQ(All<pool::RefuseOpen>(Read(driver, relay, kFirst)).at(0).why, Refusal::kGone);
  PoolCore::Actions again;
  EXPECT_FALSE(core_->DropSegment(relay, kFirst, &again)) << "dropped twice";
  EXPECT_TRUE(core_->AddAway(relay, {Entry(kFirst, kMiB)}));
  EXPECT_EQ(All<pool::AnswerAway>(Now(driver, relay, kFirst)).size(), 1u);
}

TEST_F(PoolCoreAwayTest, RefusesNumbersAndSizesThatMakeNoSense) {
  const ClientId driver = Driver(), relay = Relay(driver, {kFirst}), worker = Worker(driver);
  EXPECT_FALSE(core_->AddAway(worker, {Entry(kFirst)})) << "no relay";
  EXPECT_FALSE(core_->AddAway(driver, {Entry(kFirst)})) << "no relay";
  EXPECT_FALSE(core_->AddAway(relay, {Entry(kFirst)})) << "in use";
  EXPECT_FALSE(core_->AddAway(relay, {Entry(kFirst - 1)}));
  EXPECT_FALSE(core_->AddAway(relay, {Entry(2)}));
  EXPECT_FALSE(core_->AddAway(relay, {Entry(limits::kSegmentsMax)}));
  EXPECT_FALSE(core_->AddAway(relay, {Entry(0xffffffff)}));
  EXPECT_FALSE(core_->AddAway(relay, {Entry(kFirst + 1, 0)}));
  EXPECT_FALSE(core_->AddAway(relay, {Entry(kFirst + 1, limits::kSegmentBytesMax + 1)}));
  EXPECT_FALSE(core_->AddAway(relay, {Entry(kFirst + 1), Entry(kFirst + 1)})) << "twice in one message";
  EXPECT_EQ(core_->Find(relay)->away.size(), 1u) << "and nothing of it was taken";
  EXPECT_TRUE(core_->AddAway(relay, {Entry(limits::kSegmentsMax - 1)}));
  PoolCore::Actions actions;
  EXPECT_FALSE(core_->NotFetched(worker, kFirst, Refusal::kGone, "", &actions)) << "no relay";
  EXPECT_FALSE(core_->Arrived(worker, driver, 1, 1, &actions)) << "no relay";
  EXPECT_TRUE(core_->NotFetched(relay, kFirst + 1, Refusal::kGone, "", &actions)) << "may cross a drop";
  EXPECT_TRUE(actions.empty());
}

TEST_F(PoolCoreAwayTest, BoundsWhatIsAwayAndWhoWaits) {
  const ClientId driver = Driver(), relay = Relay(driver);
  for (std::uint32_t i = 0; i < limits::kAwayMax; ++i) ASSERT_TRUE(core_->AddAway(relay, {Entry(kFirst + i)}));
  EXPECT_FALSE(core_->AddAway(relay, {Entry(kFirst + limits::kAwayMax)}));
  PoolCore::Actions actions;
  for (std::uint32_t i = 0; i < limits::kAwayWaitersMax; ++i)
    core_->OpenAway(driver, {relay, kFirst}, false, i, &actions);
  EXPECT_TRUE(All<pool::RefuseOpen>(actions).empty());
  EXPECT_EQ(All<pool::RefuseOpen>(Read(driver, relay, kFirst)).at(0).why, Refusal::kLimit);
  EXPECT_EQ(All<pool::AnswerAway>(Now(driver, relay, kFirst)).size(), 1u) << "who does not wait is answered";
}

TEST_F(PoolCoreAwayTest, AnotherJobSeesNothingOfIt) {
  const ClientId driver = Driver(), relay = Relay(driver, {kFirst}), stranger = Driver();
  for (const bool now : {false, true}) {
    const auto actions = Open(stranger, relay, kFirst, now);
    ASSERT_EQ(actions.size(), 1u);
    EXPECT_EQ(All<pool::RefuseOpen>(actions).at(0).why, Refusal::kGone);
  }
  PoolCore::Actions actions;
  core_->Fetch(stranger, {relay, kFirst}, &actions);
  EXPECT_TRUE(core_->Arrived(relay, stranger, 1, 1, &actions));
  EXPECT_TRUE(actions.empty());
  Bring(relay, kFirst);
  EXPECT_EQ(All<pool::RefuseOpen>(Read(stranger, relay, kFirst)).at(0).why, Refusal::kGone);
  Worker(driver);
  Relay(driver, {kFirst + 5});
  Die(relay);
  EXPECT_FALSE(core_->Remake(stranger, relay, {kFirst}));
}

TEST_F(PoolCoreAwayTest, TellsALivingSubmitterThatItsValueHasArrived) {
  const ClientId driver = Driver(), relay = Relay(driver), worker = Worker(driver);
  PoolCore::Actions actions;
  EXPECT_TRUE(core_->Arrived(relay, worker, 7, 3, &actions));
  const auto told = All<pool::SendHasArrived>(actions);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].to, worker);
  EXPECT_EQ(told[0].slot, 7u);
  EXPECT_EQ(told[0].generation, 3u);
  Die(worker);
  actions.clear();
  EXPECT_TRUE(core_->Arrived(relay, worker, 7, 3, &actions));
  EXPECT_TRUE(core_->Arrived(relay, 0xdeadbeef, 7, 3, &actions));
  EXPECT_TRUE(actions.empty());
}

TEST_F(PoolCoreAwayTest, ADeadOrPartedReaderWaitsForNothing) {
  const ClientId driver = Driver(), relay = Relay(driver, {kFirst}), worker = Worker(driver);
  Read(worker, relay, kFirst);
  Read(driver, relay, kFirst);
  Die(worker);
  PoolCore::Actions actions;
  core_->DriverLeft(driver, &actions);
  core_->Check();
  EXPECT_TRUE(Bring(relay, kFirst).empty());
}

}  // namespace
}  // namespace sheaf::testing
