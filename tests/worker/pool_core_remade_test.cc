// Segments that lay on a machine that is gone: lost, claimed, made again and found under their old names (docs/decisions/0012).
#include <algorithm>
#include <map>
#include <utility>

#include "base/random.h"
#include "tests/worker/away_fixture.h"

namespace sheaf::testing {
namespace {

class PoolCoreRemadeTest : public PoolCoreAwayTest {};

TEST_F(PoolCoreRemadeTest, WhatWasHereWhenItsOwnerDiedStaysReadable) {
  const ClientId driver = Driver(), relay = Relay(driver, {kFirst, kFirst + 1, kFirst + 2});
  Bring(relay, kFirst);
  Fill(relay, kFirst + 1);
  const std::uint64_t before = core_->used_bytes();
  const auto dying = Die(relay);
  ASSERT_EQ(All<pool::DropSegment>(dying).size(), 1u) << "memory that nobody will fill";
  EXPECT_EQ(All<pool::DropSegment>(dying)[0].segment, kFirst + 1);
  EXPECT_LT(core_->used_bytes(), before);
  EXPECT_EQ(All<pool::AnswerOpen>(Read(driver, relay, kFirst)).size(), 1u);
  for (const std::uint32_t segment : {kFirst + 1, kFirst + 2}) {
    EXPECT_EQ(All<pool::RefuseOpen>(Now(driver, relay, segment)).at(0).why, Refusal::kLater);
    EXPECT_TRUE(Read(driver, relay, segment).empty()) << "it may be made again";
  }
}

TEST_F(PoolCoreRemadeTest, MemoryThatIsMadeAfterItsOwnersDeathGoesBack) {
  const ClientId driver = Driver(), relay = Relay(driver, {kFirst});
  ASSERT_TRUE(core_->FillAway(relay, kFirst, SegmentKind::kLarge, kBytes));
  Die(relay);
  const std::uint64_t before = core_->used_bytes();
  EXPECT_FALSE(core_->SegmentMade(relay, kFirst, true));
  EXPECT_LT(core_->used_bytes(), before);
  EXPECT_EQ(StateOf(relay, kFirst), State::kLost);
}

TEST_F(PoolCoreRemadeTest, WhatIsMadeAgainIsFoundUnderItsOldName) {
  const ClientId driver = Driver(), relay = Relay(driver, {kFirst}), worker = Worker(driver);
  Read(worker, relay, kFirst);
  EXPECT_TRUE(All<pool::RefuseOpen>(Die(relay)).empty());
  ASSERT_TRUE(core_->Remake(driver, relay, {kFirst, kFirst + 9, 2}));
  EXPECT_EQ(StateOf(relay, kFirst), State::kClaimed);
  EXPECT_EQ(All<pool::RefuseOpen>(Now(driver, relay, kFirst)).at(0).why, Refusal::kLater);
  Told(driver, relay);
  EXPECT_TRUE(All<pool::RefuseOpen>(Told(worker, relay)).empty()) << "settled, but somebody makes it again";
  const std::uint32_t place = Ordinary(driver);
  EXPECT_TRUE(Remade(worker, {relay, kFirst}, {0, 0}).empty()) << "another one's word counts for nothing";
  const auto answers = All<pool::AnswerOpen>(Remade(driver, {relay, kFirst}, {driver, place}));
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_EQ(answers[0].to, worker);
  EXPECT_EQ(answers[0].request, 101u);
  EXPECT_EQ(answers[0].at, (SegmentPlace{driver, place}));
  EXPECT_EQ(answers[0].asked, (SegmentPlace{relay, kFirst}));
  for (const bool now : {false, true})
    EXPECT_EQ(All<pool::AnswerOpen>(Open(worker, relay, kFirst, now)).at(0).at, (SegmentPlace{driver, place}));
  const auto gone = All<pool::SendSegmentGone>(Drop(driver, place));
  ASSERT_EQ(gone.size(), 1u) << "by the name that the reader knows";
  EXPECT_EQ(gone[0].owner, relay);
  EXPECT_EQ(gone[0].segment, kFirst);
  EXPECT_EQ(All<pool::RefuseOpen>(Read(worker, relay, kFirst)).at(0).why, Refusal::kGone);
}

TEST_F(PoolCoreRemadeTest, WhatStandsInMayLieElsewhereItself) {
  const ClientId driver = Driver(), first = Relay(driver, {kFirst}), second = Relay(driver, {kFirst + 7});
  const ClientId worker = Worker(driver);
  Read(worker, first, kFirst);
  Die(first);
  ASSERT_TRUE(core_->Remake(driver, first, {kFirst}));
  const auto moved = Remade(driver, {first, kFirst}, {second, kFirst + 7});
  ASSERT_EQ(moved.size(), 1u);
  EXPECT_EQ(All<pool::SendWanted>(moved).at(0).to, second);
  EXPECT_EQ(All<pool::SendWanted>(moved).at(0).segment, kFirst + 7);
  const auto away = All<pool::AnswerAway>(Now(driver, first, kFirst));
  EXPECT_EQ(away.at(0).at, (SegmentPlace{second, kFirst + 7}));
  EXPECT_EQ(away.at(0).asked, (SegmentPlace{first, kFirst}));
  EXPECT_TRUE(Read(driver, second, kFirst + 7).empty()) << "wanted already";
  const auto answers = All<pool::AnswerOpen>(Bring(second, kFirst + 7));
  ASSERT_EQ(answers.size(), 2u);
  EXPECT_EQ(answers[0].asked, (SegmentPlace{first, kFirst}));
  EXPECT_EQ(answers[1].asked, (SegmentPlace{second, kFirst + 7}));
}

TEST_F(PoolCoreRemadeTest, WhatIsLostTwiceIsFollowedThroughBoth) {
  const ClientId driver = Driver(), first = Relay(driver, {kFirst}), second = Relay(driver, {kFirst + 7});
  const ClientId worker = Worker(driver);
  Read(worker, first, kFirst);
  Die(first);
  ASSERT_TRUE(core_->Remake(driver, first, {kFirst}));
  Remade(driver, {first, kFirst}, {second, kFirst + 7});
  Die(second);
  EXPECT_TRUE(Read(worker, first, kFirst).empty());
  EXPECT_EQ(All<pool::RefuseOpen>(Now(worker, first, kFirst)).at(0).why, Refusal::kLater);
  ASSERT_TRUE(core_->Remake(driver, second, {kFirst + 7}));
  const std::uint32_t place = Ordinary(driver);
  const auto answers = All<pool::AnswerOpen>(Remade(driver, {second, kFirst + 7}, {driver, place}));
  ASSERT_EQ(answers.size(), 2u);
  for (const auto& answer : answers) EXPECT_EQ(answer.asked, (SegmentPlace{first, kFirst}));
  EXPECT_EQ(All<pool::AnswerOpen>(Now(worker, first, kFirst)).at(0).at, (SegmentPlace{driver, place}));
}

TEST_F(PoolCoreRemadeTest, AChainIsFollowedSoFarAndNotInCircles) {
  const ClientId driver = Driver();
  std::vector<std::uint32_t> numbers;
  for (std::uint32_t i = 0; i <= limits::kAwayChainMax + 1; ++i) numbers.push_back(kFirst + i);
  const ClientId relay = Relay(driver, numbers);
  Die(relay);
  ASSERT_TRUE(core_->Remake(driver, relay, numbers));
  for (std::size_t i = 0; i + 1 < numbers.size(); ++i) Remade(driver, {relay, numbers[i]}, {relay, numbers[i + 1]});
  EXPECT_EQ(All<pool::RefuseOpen>(Read(driver, relay, numbers[0])).at(0).why, Refusal::kGone) << "one too far";
  EXPECT_TRUE(Read(driver, relay, numbers[1]).empty()) << "waits at the end";
  const auto circle = Remade(driver, {relay, numbers.back()}, {relay, numbers[0]});
  EXPECT_EQ(All<pool::RefuseOpen>(circle).at(0).why, Refusal::kGone);
}

TEST_F(PoolCoreRemadeTest, WhatNobodyClaimsIsRefusedOnceTheDeathIsSettled) {
  const ClientId driver = Driver(), relay = Relay(driver, {kFirst}), worker = Worker(driver);
  Read(worker, relay, kFirst);
  Die(relay);
  EXPECT_TRUE(All<pool::RefuseOpen>(Told(driver, relay)).empty());
  const auto refused = All<pool::RefuseOpen>(Told(worker, relay));
  ASSERT_EQ(refused.size(), 1u);
  EXPECT_EQ(refused[0].why, Refusal::kGone);
  EXPECT_NE(refused[0].text.find("nobody can make it again"), std::string::npos);
  for (const bool now : {false, true})
    EXPECT_EQ(All<pool::RefuseOpen>(Open(driver, relay, kFirst, now)).at(0).text, refused[0].text);
  EXPECT_FALSE(core_->Remake(driver, relay, {kFirst})) << "it has said that there is nothing more";
}

TEST_F(PoolCoreRemadeTest, TheEndOfWhoWouldMakeItAgainRefusesWhoWaits) {
  const ClientId driver = Driver(), relay = Relay(driver, {kFirst, kFirst + 1}), worker = Worker(driver),
                 reader = Worker(driver);
  Read(reader, relay, kFirst);
  Read(reader, relay, kFirst + 1);
  Die(relay);
  ASSERT_TRUE(core_->Remake(worker, relay, {kFirst}));
  ASSERT_TRUE(core_->Remake(driver, relay, {kFirst, kFirst + 1})) << "the first claim counts";
  auto refused = All<pool::RefuseOpen>(Die(worker));
  ASSERT_EQ(refused.size(), 1u);
  EXPECT_EQ(refused[0].request, 101u);
  EXPECT_EQ(refused[0].why, Refusal::kGone);
  EXPECT_TRUE(Remade(driver, {relay, kFirst}, {driver, 2}).empty());
  EXPECT_EQ(StateOf(relay, kFirst), State::kFailed);
  PoolCore::Actions actions;
  core_->DriverLeft(driver, &actions);
  core_->Check();
  refused = All<pool::RefuseOpen>(actions);
  ASSERT_EQ(refused.size(), 1u);
  EXPECT_EQ(refused[0].request, 102u);
}

TEST_F(PoolCoreRemadeTest, ASecondRunThatFailsSaysWhy) {
  const ClientId driver = Driver(), relay = Relay(driver, {kFirst, kFirst + 1, kFirst + 2, kFirst + 3});
  const ClientId stranger = Driver(), worker = Worker(driver);
  std::uint32_t unpublished = 0;
  ASSERT_TRUE(core_->MakeSegment(driver, SegmentKind::kLarge, kMiB, &unpublished));
  Read(worker, relay, kFirst);
  Die(relay);
  ASSERT_TRUE(core_->Remake(driver, relay, {kFirst, kFirst + 1, kFirst + 2, kFirst + 3}));
  const auto refused = All<pool::RefuseOpen>(Remade(driver, {relay, kFirst}, {0, 0}, "another shape"));
  ASSERT_EQ(refused.size(), 1u);
  EXPECT_EQ(refused[0].text, "another shape");
  Remade(driver, {relay, kFirst + 1}, {driver, 999});
  Remade(driver, {relay, kFirst + 2}, {stranger, 2});
  Remade(driver, {relay, kFirst + 3}, {driver, unpublished});
  for (std::uint32_t i = 1; i <= 3; ++i) EXPECT_EQ(StateOf(relay, kFirst + i), State::kFailed) << i;
}

TEST_F(PoolCoreRemadeTest, AClaimOnTheLivingIsNonsenseAndOneOnTheForgottenNothing) {
  const ClientId driver = Driver(), relay = Relay(driver, {kFirst}), worker = Worker(driver);
  EXPECT_FALSE(core_->Remake(driver, relay, {kFirst}));
  Die(relay);
  Ack(driver, relay);
  Ack(worker, relay);
  ASSERT_EQ(core_->Find(relay), nullptr);
  EXPECT_TRUE(core_->Remake(driver, relay, {kFirst}));
  EXPECT_TRUE(Remade(driver, {relay, kFirst}, {driver, 2}).empty());
}

TEST_F(PoolCoreRemadeTest, WhoWaitsByTheNameOfAForgottenOneIsRefused) {
  const ClientId driver = Driver(), first = Relay(driver, {kFirst}), second = Relay(driver, {kFirst + 7});
  Read(driver, first, kFirst);
  Die(first);
  ASSERT_TRUE(core_->Remake(driver, first, {kFirst}));
  Remade(driver, {first, kFirst}, {second, kFirst + 7});
  Ack(second, first);
  const auto refused = All<pool::RefuseOpen>(Ack(driver, first));
  ASSERT_EQ(core_->Find(first), nullptr);
  ASSERT_EQ(refused.size(), 1u);
  EXPECT_EQ(refused[0].why, Refusal::kGone);
  EXPECT_TRUE(All<pool::AnswerOpen>(Bring(second, kFirst + 7)).empty());
}

// Random reads, fetches, deaths and second runs: the invariants hold after each step, every read is answered at most once, and
// in the end nothing is left.
TEST_F(PoolCoreRemadeTest, AnswersEachReadOnceInAnyOrderOfEvents) {
  std::uint64_t answered = 0, refused = 0, renamed = 0;
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    Restart(24, 48 * kMiB);
    Random random(seed);
    std::vector<ClientId> drivers{Driver(), Driver()};
    struct Member {
      ClientId id, job;
      bool relay;
    };
    std::vector<Member> alive, dead;
    for (const ClientId driver : drivers) alive.push_back({driver, driver, false});
    std::vector<SegmentPlace> making;
    std::vector<std::pair<ClientId, ClientId>> owed;  // who, for whom
    std::map<std::uint64_t, ClientId> waiting;        // reads by number
    const auto take = [&](const PoolCore::Actions& actions) {
      const auto answer = [&](std::uint64_t request, ClientId to) {
        EXPECT_EQ(waiting.contains(request) ? waiting[request] : 0, to) << "seed " << seed;
        waiting.erase(request);
      };
      for (const auto& one : All<pool::AnswerOpen>(actions)) {
        answer(one.request, one.to);
        EXPECT_TRUE(core_->Find(one.at.client)->segments.at(one.at.segment).sealed);
        ++answered;
        renamed += one.at != one.asked;
      }
      for (const auto& one : All<pool::AnswerAway>(actions)) answer(one.request, one.to);
      for (const auto& one : All<pool::RefuseOpen>(actions)) {
        answer(one.request, one.to);
        ++refused;
      }
      for (const auto& gone : All<pool::SendGone>(actions)) owed.emplace_back(gone.to, gone.peer);
      core_->Check();
    };
    const auto place = [&]() -> SegmentPlace {
      std::vector<SegmentPlace> known;
      for (const auto& [id, client] : core_->clients())
        for (const auto& [number, away] : client.away) known.push_back({id, number});
      if (!known.empty() && random.OneIn(2)) return known[random.Below(known.size())];
      const auto& from = !dead.empty() && random.OneIn(2) ? dead : alive;
      const ClientId owner = from[random.Below(from.size())].id;
      return {owner, random.OneIn(6) ? 2 : kFirst + static_cast<std::uint32_t>(random.Below(6))};
    };
    for (int step = 0; step < 600 && !alive.empty(); ++step) {
      PoolCore::Actions actions;
      const Member member = alive[random.Below(alive.size())];
      const auto segment = kFirst + static_cast<std::uint32_t>(random.Below(6));
      switch (random.Below(14)) {
        case 0: {
          ClientId client = 0;
          const bool relay = random.OneIn(2);
          const bool room = relay ? static_cast<bool>(core_->AddRelay(member.job, &client, &actions))
                                  : static_cast<bool>(core_->AddWorker(member.job, kBuild, &client, &actions));
          if (!room) break;
          core_->Attached(client, &actions);
          alive.push_back({client, member.job, relay});
          break;
        }
        case 1:
        case 2:
          core_->AddAway(member.id, {Entry(segment), Entry(segment + 1)});
          break;
        case 3:
        case 4:
        case 5: {
          waiting[++request_] = member.id;
          core_->OpenAway(member.id, place(), random.OneIn(4), request_, &actions);
          break;
        }
        case 6:
          core_->Fetch(member.id, place(), &actions);
          break;
        case 7:
          if (core_->FillAway(member.id, segment, SegmentKind::kLarge, kBytes)) making.push_back({member.id, segment});
          break;
        case 8:
          if (making.empty()) break;
          core_->SegmentMade(making.back().client, making.back().segment, !random.OneIn(4));
          making.pop_back();
          break;
        case 9:
          core_->SegmentMapped(member.id, segment, &actions);
          break;
        case 10:
          if (random.OneIn(2)) {
            core_->NotFetched(member.id, segment, Refusal::kOutOfMemory, "no room", &actions);
          } else {
            core_->DropSegment(member.id, segment, &actions);
          }
          break;
        case 11: {
          if (!random.OneIn(member.relay ? 2 : 6)) break;
          std::erase_if(alive, [&](const Member& one) { return one.id == member.id; });
          std::erase_if(waiting, [&](const auto& read) { return read.second == member.id; });
          dead.push_back(member);
          if (member.id == member.job && random.OneIn(2)) {
            core_->DriverLeft(member.id, &actions);
            take(actions);
            actions.clear();
          }
          core_->Died(member.id, 9, &actions);
          break;
        }
        case 12:
          for (const auto& [id, client] : core_->clients()) {
            for (const auto& [number, away] : client.away) {
              if (away.state != State::kClaimed || random.OneIn(2)) continue;
              core_->Remade(away.claimed_by, {id, number}, random.OneIn(6) ? SegmentPlace{} : place(), "", &actions);
              break;  // its entries have changed
            }
          }
          break;
        default: {
          if (owed.empty()) break;
          const std::size_t at = random.Below(owed.size());
          const auto [who, whom] = owed[at];
          if (std::none_of(alive.begin(), alive.end(), [who = who](const Member& one) { return one.id == who; })) break;
          if (!random.OneIn(3)) {
            core_->Remake(who, whom, {segment, segment + 1});
          } else if (random.OneIn(2)) {
            EXPECT_TRUE(core_->HeirsTold(who, whom, &actions));
          } else {
            owed.erase(owed.begin() + static_cast<long>(at));
            EXPECT_TRUE(core_->Acknowledge(who, whom, &actions));
          }
        }
      }
      take(actions);
      std::uint64_t kept = 0;
      for (const auto& [id, client] : core_->clients())
        for (const auto& [number, away] : client.away) kept += away.waiters.size();
      ASSERT_EQ(kept, waiting.size()) << "seed " << seed << " step " << step << ": a read was forgotten";
    }
    for (const Member& member : std::vector<Member>(alive)) {
      PoolCore::Actions actions;
      std::erase_if(waiting, [&](const auto& read) { return read.second == member.id; });
      core_->Died(member.id, 9, &actions);
      take(actions);
    }
    for (const SegmentPlace& one : making) core_->SegmentMade(one.client, one.segment, true);
    EXPECT_TRUE(core_->clients().empty()) << "seed " << seed;
    EXPECT_EQ(core_->used_bytes(), 0u) << "seed " << seed;
  }
  EXPECT_GT(answered, 500u);
  EXPECT_GT(refused, 500u);
  EXPECT_GT(renamed, 20u);
}

}  // namespace
}  // namespace sheaf::testing
