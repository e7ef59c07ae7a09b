#include "scheduler/scheduler_core.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace sheaf::scheduler {
namespace {

constexpr Time kSecond = 1'000'000'000;

SchedulerCore::Config SmallConfig() {
  SchedulerCore::Config config;
  config.cluster_id = "c";
  config.epoch = 7;
  config.writes_max = 2;
  config.waiters_max = 2;
  return config;
}

RegisterArrived Register(std::uint64_t token, const std::string& id, std::uint64_t incarnation = 1) {
  RegisterArrived event;
  event.token = token;
  event.protocol = kProtocol;
  event.pool.pool_id = id;
  event.pool.incarnation = incarnation;
  event.load.slots = 4;
  return event;
}

HeartbeatArrived Heartbeat(std::uint64_t token, const std::string& id, std::uint64_t sequence,
                           std::uint64_t epoch = 7) {
  HeartbeatArrived event;
  event.token = token;
  event.pool_id = id;
  event.incarnation = 1;
  event.epoch = epoch;
  event.sequence = sequence;
  event.load.slots = 4;
  return event;
}

std::vector<std::string> Lines(const std::vector<Action>& actions) {
  std::vector<std::string> lines;
  for (const Action& action : actions) lines.push_back(Describe(action));
  return lines;
}

using Script = std::vector<std::string>;

TEST(SchedulerCore, AcknowledgesARegistrationOnlyOnceItIsStored) {
  SchedulerCore core(SmallConfig(), {}, 0);
  EXPECT_EQ(Lines(core.OnEvent(Register(1, "a"), 0)), Script{"store a/1"});
  EXPECT_EQ(core.nodes().Find("a"), nullptr);
  EXPECT_EQ(Lines(core.OnEvent(StoreDone{1, true, ""}, 1)), (Script{"joined a/1", "reply_register 1 ok"}));
  EXPECT_EQ(Lines(core.OnEvent(Heartbeat(2, "a", 1), 2)), Script{"reply_heartbeat 2 ok"});
}

TEST(SchedulerCore, GivesARepeatedRegistrationTheAnswerOfTheFirst) {
  SchedulerCore core(SmallConfig(), {}, 0);
  core.OnEvent(Register(1, "a"), 0);
  EXPECT_EQ(Lines(core.OnEvent(Register(2, "a"), 0)), Script{}) << "one write for both";
  EXPECT_EQ(Lines(core.OnEvent(Register(3, "a"), 0)), Script{"reply_register 3 unavailable"});
  EXPECT_EQ(Lines(core.OnEvent(StoreDone{1, true, ""}, 1)),
            (Script{"joined a/1", "reply_register 1 ok", "reply_register 2 ok"}));
  EXPECT_EQ(Lines(core.OnEvent(Register(4, "a"), 2)), Script{"reply_register 4 ok"});
}

// Found by the simulation, seed 962: the file named an earlier life than the one that was acknowledged.
TEST(SchedulerCore, DoesNotWriteAnEarlierLifeOverALaterOneThatIsBeingStored) {
  SchedulerCore core(SmallConfig(), {}, 0);
  EXPECT_EQ(Lines(core.OnEvent(Register(1, "a", 7), 0)), Script{"store a/7"});
  EXPECT_EQ(Lines(core.OnEvent(Register(2, "a", 6), 0)), Script{"reply_register 2 superseded"});
}

TEST(SchedulerCore, TurnsAPoolAwayWhenItsStateIsNotStoredAndSaysSoInItsView) {
  SchedulerCore core(SmallConfig(), {}, 0);
  core.OnEvent(Register(1, "a"), 0);
  EXPECT_EQ(Lines(core.OnEvent(StoreDone{1, false, "disk full"}, 1)), Script{"reply_register 1 unavailable"});
  EXPECT_EQ(core.trouble(), "disk full");
  EXPECT_EQ(core.nodes().Find("a"), nullptr);
  core.OnEvent(Register(2, "a"), 2);
  core.OnEvent(StoreDone{2, true, ""}, 3);
  EXPECT_EQ(core.trouble(), "");
  EXPECT_NE(core.nodes().Find("a"), nullptr);
}

TEST(SchedulerCore, BoundsTheRegistrationsThatWaitForTheDisk) {
  SchedulerCore core(SmallConfig(), {}, 0);
  core.OnEvent(Register(1, "a"), 0);
  core.OnEvent(Register(2, "b"), 0);
  EXPECT_EQ(Lines(core.OnEvent(Register(3, "c"), 0)), Script{"reply_register 3 unavailable"});
  EXPECT_EQ(core.writes_open(), 2u);
}

TEST(SchedulerCore, RefusesWhatItCannotUnderstand) {
  SchedulerCore core(SmallConfig(), {}, 0);
  RegisterArrived other = Register(1, "a");
  other.protocol = kProtocol + 1;
  EXPECT_EQ(Lines(core.OnEvent(other, 0)), Script{"reply_register 1 refused"});
  EXPECT_EQ(Lines(core.OnEvent(Register(2, ""), 0)), Script{"reply_register 2 refused"});
  EXPECT_EQ(Lines(core.OnEvent(Register(3, "a/../b"), 0)), Script{"reply_register 3 refused"});
  EXPECT_EQ(Lines(core.OnEvent(Register(4, std::string(65, 'a')), 0)), Script{"reply_register 4 refused"});
  EXPECT_EQ(Lines(core.OnEvent(Register(5, "a", 0), 0)), Script{"reply_register 5 refused"});
  RegisterArrived idle = Register(6, "a");
  idle.load.slots = 65'537;
  EXPECT_EQ(Lines(core.OnEvent(idle, 0)), Script{"reply_register 6 refused"});
  RegisterArrived coloured = Register(7, "a");
  coloured.pool.machine = "\x1b[31mred";
  EXPECT_EQ(Lines(core.OnEvent(coloured, 0)), Script{"reply_register 7 refused"});
}

TEST(SchedulerCore, FencesItselfWhenAPoolKnowsALaterEpoch) {
  SchedulerCore core(SmallConfig(), {}, 0);
  RegisterArrived event = Register(1, "a");
  event.cluster_id_seen = "c";
  event.epoch_seen = 8;
  EXPECT_EQ(Lines(core.OnEvent(event, 0)), Script{"reply_register 1 refused"});
  event.cluster_id_seen = "another";  // of another cluster: its numbers mean nothing here
  event.token = 2;
  EXPECT_EQ(Lines(core.OnEvent(event, 0)), Script{"store a/1"});
}

TEST(SchedulerCore, AsksForARegistrationAfterItsRestart) {
  PoolIdentity known = Register(0, "a").pool;
  SchedulerCore core(SmallConfig(), {known}, 0);
  EXPECT_EQ(Lines(core.OnEvent(Heartbeat(1, "a", 50, 6), 1)), Script{"reply_heartbeat 1 register_again"});
  EXPECT_EQ(Lines(core.OnEvent(Register(2, "a"), 2)), (Script{"joined a/1", "reply_register 2 ok"}))
      << "the file has it already: no write";
}

TEST(SchedulerCore, SaysWhichPoolsAreLost) {
  SchedulerCore core(SmallConfig(), {}, 0);
  core.OnEvent(Register(1, "a"), 0);
  core.OnEvent(StoreDone{1, true, ""}, 0);
  EXPECT_EQ(Lines(core.OnEvent(Tick{}, core.NextDeadline() - 1)), Script{});
  EXPECT_EQ(Lines(core.OnEvent(Tick{}, core.NextDeadline())), Script{"gone a/1 silent for too long"});
  EXPECT_EQ(Lines(core.OnEvent(Heartbeat(2, "a", 2), 6 * kSecond)), Script{"reply_heartbeat 2 register_again"});
  EXPECT_EQ(Lines(core.OnEvent(Tick{}, core.NextDeadline())), Script{"erase a"});
  EXPECT_EQ(core.NextDeadline(), kNever);
}

TEST(SchedulerCore, AnswersEveryGoodbyeAlike) {
  SchedulerCore core(SmallConfig(), {}, 0);
  core.OnEvent(Register(1, "a"), 0);
  core.OnEvent(StoreDone{1, true, ""}, 0);
  EXPECT_EQ(Lines(core.OnEvent(LeaveArrived{2, "a", 1}, 1)), (Script{"gone a/1 left", "erase a", "reply_leave 2 ok"}));
  EXPECT_EQ(Lines(core.OnEvent(LeaveArrived{3, "a", 1}, 2)), Script{"reply_leave 3 ok"});
  EXPECT_EQ(Lines(core.OnEvent(LeaveArrived{4, "nobody", 1}, 2)), Script{"reply_leave 4 ok"});
}

TEST(SchedulerCore, ShowsWhoWantsWhatHoldsWhatAndEnds) {
  SchedulerCore core(SmallConfig(), {}, 0);
  RegisterArrived far = Register(1, "far");
  far.offer.cpus_milli = 4000;
  far.offer.address = "h:1";
  core.OnEvent(far, 0);
  core.OnEvent(StoreDone{1, true, ""}, 0);
  core.OnEvent(Register(2, "near"), 0);
  core.OnEvent(StoreDone{2, true, ""}, 0);
  HeartbeatArrived beat = Heartbeat(3, "near", 1);
  LeaseWant want;
  want.job = 5;
  want.slots = 6;
  beat.report.wants = {want};
  core.OnEvent(beat, 0);
  ClusterView view = core.Show(2 * kSecond, true);
  ASSERT_EQ(view.jobs.size(), 1u);
  EXPECT_EQ(view.jobs[0].holds, 4u);
  EXPECT_EQ(view.jobs[0].waiting_ms, 2000u);
  ASSERT_EQ(view.grants.size(), 1u);
  EXPECT_EQ(view.grants[0].age_ms, 2000u);
  EXPECT_EQ(view.pools[0].lent_milli, 4000u);
  EXPECT_FALSE(view.pools[0].draining);
  core.OnEvent(DrainAsked{4, "far"}, 2 * kSecond);
  view = core.Show(2 * kSecond, true);
  EXPECT_TRUE(view.pools[0].draining);
  EXPECT_TRUE(view.grants.empty());
  EXPECT_TRUE(core.Show(0, false).jobs.empty());
}

// A lender of four CPUs and a borrower, both members.
SchedulerCore Two() {
  SchedulerCore core(SmallConfig(), {}, 0);
  RegisterArrived far = Register(1, "far");
  far.offer.cpus_milli = 4000;
  far.offer.address = "h:1";
  core.OnEvent(far, 0);
  core.OnEvent(StoreDone{1, true, ""}, 0);
  core.OnEvent(Register(2, "near"), 0);
  core.OnEvent(StoreDone{2, true, ""}, 0);
  return core;
}
// As a pool that keeps what it was given last.
HeartbeatArrived Report(const SchedulerCore& core, std::uint64_t sequence, std::vector<std::pair<int, int>> wants) {
  HeartbeatArrived beat = Heartbeat(sequence, "near", sequence);
  for (const auto& [job, slots] : wants) {
    LeaseWant want;
    want.job = static_cast<std::uint64_t>(job);
    want.slots = static_cast<std::uint32_t>(slots);
    beat.report.wants.push_back(want);
  }
  beat.report.held = core.placement().GrantsOf("near");
  return beat;
}
std::string Id(std::uint64_t number, std::uint64_t epoch = 7) { return std::to_string((epoch << 40) + number); }

TEST(SchedulerCore, StoresGrantsBehindTheAnswerOneBatchAtATime) {
  SchedulerCore core = Two();
  EXPECT_EQ(Lines(core.OnEvent(Report(core, 1, {{1, 1}}), 0)),
            (Script{"reply_heartbeat 1 ok " + Id(1) + ":farx1", "store_grants +" + Id(1)}));
  // While that is written: two more, and one of them ends before it was ever stored.
  EXPECT_EQ(Lines(core.OnEvent(Report(core, 2, {{1, 1}, {2, 1}}), 1)).size(), 1u);
  EXPECT_EQ(Lines(core.OnEvent(Report(core, 3, {{1, 1}, {2, 1}, {3, 1}}), 2)).size(), 1u);
  HeartbeatArrived beat = Report(core, 4, {{1, 1}, {2, 1}});
  beat.report.held.pop_back();
  EXPECT_EQ(Lines(core.OnEvent(beat, 3)).size(), 1u);
  EXPECT_EQ(Lines(core.OnEvent(StoreDone{3, true, ""}, 4)), Script{"store_grants +" + Id(2)});
  EXPECT_EQ(Lines(core.OnEvent(StoreDone{4, true, ""}, 5)), Script{});
  // All that it held ends with the pool.
  EXPECT_EQ(Lines(core.OnEvent(LeaveArrived{9, "near", 1}, 6)),
            (Script{"gone near/1 left", "erase near", "reply_leave 9 ok", "store_grants -" + Id(1) + " -" + Id(2)}));
}

TEST(SchedulerCore, GoesOnGrantingWhenGrantsCannotBeStoredAndTriesAgain) {
  SchedulerCore core = Two();
  core.OnEvent(Report(core, 1, {{1, 1}}), 0);
  EXPECT_EQ(Lines(core.OnEvent(StoreDone{3, false, "disk full"}, 1)), Script{});
  EXPECT_EQ(core.trouble(), "disk full");
  EXPECT_EQ(Lines(core.OnEvent(Report(core, 2, {{1, 1}, {2, 1}}), 2)),
            Script{"reply_heartbeat 2 ok " + Id(1) + ":farx1 " + Id(2) + ":farx1"})
      << "granted, and not at once tried again";
  EXPECT_LE(core.NextDeadline(), kSecond + 1);
  EXPECT_EQ(Lines(core.OnEvent(Tick{}, kSecond + 1)), Script{"store_grants +" + Id(1) + " +" + Id(2)});
  EXPECT_EQ(Lines(core.OnEvent(StoreDone{4, true, ""}, kSecond + 2)), Script{});
  EXPECT_EQ(core.trouble(), "");
}

class RestartedTest : public ::testing::Test {
 protected:
  static GrantRecord Grant(std::uint64_t number, std::uint64_t epoch = 6) {
    return {(epoch << 40) + number, "near", 1, 5, "far", 1, 2, 1000, -3 * kSecond};
  }
  static RegisterArrived Far(std::uint64_t incarnation = 1) {
    RegisterArrived far = Register(1, "far", incarnation);
    far.offer.cpus_milli = 4000;
    far.offer.address = "h:1";
    return far;
  }
  static SchedulerCore Restarted(const std::vector<GrantRecord>& granted) {
    return SchedulerCore(SmallConfig(), {Register(0, "far").pool, Register(0, "near").pool}, 0, granted);
  }
};

TEST_F(RestartedTest, ShowsWhatWasGrantedBeforeAsExpectedUntilThePoolReports) {
  SchedulerCore core = Restarted({Grant(1), Grant(2)});
  ClusterView view = core.Show(kSecond, true);
  ASSERT_EQ(view.grants.size(), 2u);
  EXPECT_TRUE(view.grants[0].expected);
  EXPECT_EQ(view.grants[0].borrower, "near");
  EXPECT_EQ(view.grants[0].lender, "far");
  EXPECT_EQ(view.grants[0].age_ms, 4000u) << "older than this life of the scheduler";
  ASSERT_EQ(view.jobs.size(), 1u);
  EXPECT_TRUE(view.jobs[0].expected);
  EXPECT_EQ(view.jobs[0].holds, 4u);
  // Both come back; the borrower uses the second one still.
  core.OnEvent(Far(), kSecond);
  core.OnEvent(Register(2, "near"), kSecond);
  EXPECT_EQ(core.Show(kSecond, true).grants.size(), 2u) << "it is a member, and has not reported";
  HeartbeatArrived beat = Heartbeat(3, "near", 1);
  beat.report.held = {{Grant(2).id, 5, "far", 1, "h:1", 2, 1000}};
  EXPECT_EQ(Lines(core.OnEvent(beat, kSecond)),
            (Script{"reply_heartbeat 3 ok " + Id(2, 6) + ":farx2", "store_grants -" + Id(1, 6)}));
  view = core.Show(kSecond, true);
  ASSERT_EQ(view.grants.size(), 1u);
  EXPECT_FALSE(view.grants[0].expected);
  EXPECT_EQ(view.grants[0].age_ms, 4000u);
  EXPECT_FALSE(view.jobs.at(0).expected);
}

TEST_F(RestartedTest, ForgetsWhatIsExpectedOfPoolsThatAreGoneOrLiveAnew) {
  SchedulerCore lost = Restarted({Grant(1)});
  std::vector<std::string> lines;
  for (const std::string& line : Lines(lost.OnEvent(Tick{}, lost.NextDeadline()))) lines.push_back(line);
  EXPECT_EQ(lines.back(), "store_grants -" + Id(1, 6)) << "neither came back";
  EXPECT_TRUE(lost.Show(0, true).grants.empty());

  SchedulerCore reborn = Restarted({Grant(1)});
  reborn.OnEvent(Far(2), 5 * kSecond);
  EXPECT_EQ(Lines(reborn.OnEvent(StoreDone{1, true, ""}, 5 * kSecond)).back(), "store_grants -" + Id(1, 6));
  EXPECT_TRUE(reborn.Show(5 * kSecond, true).grants.empty());

  SchedulerCore left = Restarted({Grant(1)});
  EXPECT_EQ(Lines(left.OnEvent(LeaveArrived{1, "near", 1}, 0)).back(), "store_grants -" + Id(1, 6));
}

TEST_F(RestartedTest, ErasesWhatNobodyCanReport) {
  GrantRecord of_nobody = Grant(1), of_an_earlier_life = Grant(2), of_this_epoch = Grant(3, 7), of_itself = Grant(4);
  of_nobody.borrower = "nobody";
  of_an_earlier_life.lender_incarnation = 9;
  of_itself.lender = "near";
  SchedulerCore core = Restarted({of_nobody, of_an_earlier_life, of_this_epoch, of_itself});
  EXPECT_TRUE(core.Show(0, true).grants.empty());
  EXPECT_EQ(Lines(core.OnEvent(Tick{}, 0)),
            Script{"store_grants -" + Id(1, 6) + " -" + Id(2, 6) + " -" + Id(4, 6) + " -" + Id(3, 7)});
}

TEST_F(RestartedTest, NeverGivesTheIdOfAFormerEpochAgain) {
  SchedulerCore core = Restarted({Grant(1), Grant(900)});
  core.OnEvent(Far(), 0);
  core.OnEvent(Register(2, "near"), 0);
  const auto lines = Lines(core.OnEvent(Report(core, 1, {{5, 1}}), 0));
  EXPECT_EQ(lines[0], "reply_heartbeat 1 ok " + Id(1, 7) + ":farx1");
}

TEST(SchedulerCore, DoesNotEraseAPoolWhoseNextLifeIsBeingStored) {
  SchedulerCore core(SmallConfig(), {}, 0);
  core.OnEvent(Register(1, "a", 1), 0);
  core.OnEvent(StoreDone{1, true, ""}, 0);
  EXPECT_EQ(Lines(core.OnEvent(Tick{}, 5 * kSecond)), Script{"gone a/1 silent for too long"});
  EXPECT_EQ(Lines(core.OnEvent(Register(2, "a", 2), 6 * kSecond)), Script{"store a/2"});
  EXPECT_EQ(Lines(core.OnEvent(LeaveArrived{3, "a", 1}, 6 * kSecond)), (Script{"gone a/1 left", "reply_leave 3 ok"}));
  EXPECT_EQ(Lines(core.OnEvent(StoreDone{2, true, ""}, 6 * kSecond)), (Script{"joined a/2", "reply_register 2 ok"}));
}

TEST(SchedulerCore, RefusesASecondPoolOfANameUntilTheFirstIsLost) {
  SchedulerCore core(SmallConfig(), {}, 0);
  RegisterArrived first = Register(1, "a", 1);
  first.pool.machine = "box1";
  first.pool.pid = 4711;
  core.OnEvent(first, 0);
  EXPECT_EQ(Lines(core.OnEvent(Register(2, "a", 2), 0)), Script{"reply_register 2 unavailable"}) << "being stored";
  core.OnEvent(StoreDone{1, true, ""}, 0);
  const std::vector<Action> refused = core.OnEvent(Register(3, "a", 2), kSecond);
  EXPECT_EQ(Lines(refused), Script{"reply_register 3 unavailable"});
  const std::string& why = std::get<ReplyRegister>(refused.at(0)).reason;
  EXPECT_NE(why.find("a pool named a is alive on box1, process 4711"), std::string::npos) << why;
  EXPECT_NE(why.find("another --id"), std::string::npos) << why;
  EXPECT_EQ(Lines(core.OnEvent(Heartbeat(4, "a", 1), kSecond)), Script{"reply_heartbeat 4 ok"});
  EXPECT_EQ(Lines(core.OnEvent(Register(5, "a", 2), 6 * kSecond)), Script{"store a/2"}) << "silent since";
}

// Else the file would name one life, and the table another that has come back meanwhile.
TEST(SchedulerCore, DoesNotTakeALostPoolBackWhoseNameIsBeingStoredForAnother) {
  SchedulerCore core(SmallConfig(), {}, 0);
  core.OnEvent(Register(1, "a", 1), 0);
  core.OnEvent(StoreDone{1, true, ""}, 0);
  core.OnEvent(Tick{}, 5 * kSecond);
  EXPECT_EQ(Lines(core.OnEvent(Register(2, "a", 2), 6 * kSecond)), Script{"store a/2"});
  EXPECT_EQ(Lines(core.OnEvent(Register(3, "a", 1), 6 * kSecond)), Script{"reply_register 3 superseded"});
  EXPECT_EQ(Lines(core.OnEvent(StoreDone{2, true, ""}, 7 * kSecond)), (Script{"joined a/2", "reply_register 2 ok"}));
}

}  // namespace
}  // namespace sheaf::scheduler
