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

TEST(SchedulerCore, DoesNotEraseAPoolWhoseNextLifeIsBeingStored) {
  SchedulerCore core(SmallConfig(), {}, 0);
  core.OnEvent(Register(1, "a", 1), 0);
  core.OnEvent(StoreDone{1, true, ""}, 0);
  EXPECT_EQ(Lines(core.OnEvent(Register(2, "a", 2), 1)), Script{"store a/2"});
  EXPECT_EQ(Lines(core.OnEvent(LeaveArrived{3, "a", 1}, 2)), (Script{"gone a/1 left", "reply_leave 3 ok"}));
  EXPECT_EQ(Lines(core.OnEvent(StoreDone{2, true, ""}, 3)), (Script{"joined a/2", "reply_register 2 ok"}));
}

}  // namespace
}  // namespace sheaf::scheduler
