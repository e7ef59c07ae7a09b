#include "scheduler/node_table.h"

#include <gtest/gtest.h>

namespace sheaf::scheduler {
namespace {

constexpr Time kSecond = 1'000'000'000;

NodeTable::Limits SmallLimits() {
  NodeTable::Limits limits;
  limits.lost_after = 5 * kSecond;
  limits.expected_for = 10 * kSecond;
  limits.remembered_for = 60 * kSecond;
  limits.pools_max = 3;
  return limits;
}

PoolIdentity Pool(const char* id, std::uint64_t incarnation = 1) {
  PoolIdentity pool;
  pool.pool_id = id;
  pool.incarnation = incarnation;
  return pool;
}

PoolLoad Load(std::uint32_t leased) {
  PoolLoad load;
  load.slots = 8;
  load.slots_leased = leased;
  return load;
}

using Registered = NodeTable::Registered;
using Heard = NodeTable::Heard;

TEST(NodeTable, LosesAPoolThatIsSilentAndForgetsItLater) {
  NodeTable table(SmallLimits());
  ASSERT_EQ(table.Register(Pool("a"), Load(0), 0), Registered::kJoined);
  EXPECT_EQ(table.NextDeadline(), 5 * kSecond);
  EXPECT_TRUE(table.Expire(5 * kSecond - 1).lost.empty());
  const NodeTable::Expired lost = table.Expire(5 * kSecond);
  ASSERT_EQ(lost.lost.size(), 1u);
  EXPECT_EQ(lost.lost[0].pool_id, "a");
  EXPECT_EQ(table.Find("a")->standing, Standing::kLost);
  EXPECT_TRUE(table.Expire(5 * kSecond).lost.empty()) << "a pool is lost once";
  EXPECT_EQ(table.Expire(65 * kSecond).forgotten.size(), 1u);
  EXPECT_EQ(table.Find("a"), nullptr);
  EXPECT_EQ(table.NextDeadline(), kNever);
}

TEST(NodeTable, KeepsAPoolThatBeats) {
  NodeTable table(SmallLimits());
  table.Register(Pool("a"), Load(0), 0);
  for (std::uint64_t beat = 1; beat <= 20; ++beat) {
    const Time now = static_cast<Time>(beat) * kSecond;
    EXPECT_EQ(table.Heartbeat("a", 1, beat, Load(3), now), Heard::kFresh);
    EXPECT_TRUE(table.Expire(now).lost.empty());
  }
  EXPECT_EQ(table.Find("a")->load, Load(3));
}

TEST(NodeTable, IgnoresAHeartbeatThatANewerOneOvertook) {
  NodeTable table(SmallLimits());
  table.Register(Pool("a"), Load(0), 0);
  EXPECT_EQ(table.Heartbeat("a", 1, 2, Load(2), kSecond), Heard::kFresh);
  EXPECT_EQ(table.Heartbeat("a", 1, 1, Load(1), 2 * kSecond), Heard::kLate);
  EXPECT_EQ(table.Heartbeat("a", 1, 2, Load(1), 2 * kSecond), Heard::kLate);
  EXPECT_EQ(table.Find("a")->load, Load(2));
  EXPECT_EQ(table.Find("a")->last_heard, kSecond) << "an old message is no sign of life";
}

TEST(NodeTable, MakesALostPoolRegisterAgain) {
  NodeTable table(SmallLimits());
  table.Register(Pool("a"), Load(0), 0);
  table.Expire(6 * kSecond);
  EXPECT_EQ(table.Heartbeat("a", 1, 1, Load(0), 7 * kSecond), Heard::kUnknown);
  EXPECT_EQ(table.Register(Pool("a"), Load(0), 7 * kSecond), Registered::kJoined);
  EXPECT_EQ(table.Heartbeat("a", 1, 1, Load(0), 8 * kSecond), Heard::kFresh);
}

TEST(NodeTable, KnowsALaterLifeFromAnEarlierOne) {
  NodeTable table(SmallLimits());
  table.Register(Pool("a", 5), Load(0), 0);
  EXPECT_EQ(table.Register(Pool("a", 5), Load(0), 1), Registered::kRepeated);
  EXPECT_EQ(table.Register(Pool("a", 4), Load(0), 2), Registered::kSuperseded);
  EXPECT_EQ(table.Heartbeat("a", 4, 9, Load(0), 2), Heard::kSuperseded);
  EXPECT_EQ(table.Register(Pool("a", 6), Load(0), 6 * kSecond), Registered::kJoined);
  EXPECT_EQ(table.Heartbeat("a", 5, 9, Load(0), 6 * kSecond), Heard::kSuperseded);
  EXPECT_EQ(table.Heartbeat("a", 6, 1, Load(0), 6 * kSecond), Heard::kFresh)
      << "a new life counts its heartbeats from one";
  EXPECT_FALSE(table.Leave("a", 5, 4)) << "the goodbye of an earlier life";
  EXPECT_EQ(table.Find("a")->standing, Standing::kAlive);
}

TEST(NodeTable, KeepsANameForItsPoolUntilThatIsLostOrHasLeft) {
  NodeTable table(SmallLimits());
  table.Register(Pool("a", 5), Load(0), 0);
  EXPECT_EQ(table.Register(Pool("a", 6), Load(0), 1), Registered::kTaken);
  table.Heartbeat("a", 5, 1, Load(0), 4 * kSecond);
  EXPECT_EQ(table.Register(Pool("a", 6), Load(0), 9 * kSecond - 1), Registered::kTaken) << "it was heard of";
  EXPECT_EQ(table.Heartbeat("a", 5, 2, Load(0), 9 * kSecond - 1), Heard::kFresh) << "the first is unharmed";
  EXPECT_TRUE(table.Leave("a", 5, 9 * kSecond));
  EXPECT_EQ(table.Register(Pool("a", 6), Load(0), 9 * kSecond), Registered::kJoined);
}

TEST(NodeTable, KeepsTheNameOfAnExpectedPoolAsLongAsItTakesToComeBack) {
  NodeTable table(SmallLimits());
  table.Expect(Pool("a", 5), 0);
  EXPECT_EQ(table.Register(Pool("a", 6), Load(0), 5 * kSecond - 1), Registered::kTaken);
  EXPECT_EQ(table.Register(Pool("a", 5), Load(0), 5 * kSecond - 1), Registered::kJoined);
  table.Expect(Pool("b", 5), 0);
  EXPECT_EQ(table.Register(Pool("b", 6), Load(0), 5 * kSecond), Registered::kJoined);
}

TEST(NodeTable, DoesNotTakeBackWhoHasLeft) {
  NodeTable table(SmallLimits());
  table.Register(Pool("a"), Load(0), 0);
  EXPECT_TRUE(table.Leave("a", 1, 1));
  EXPECT_FALSE(table.Leave("a", 1, 1));
  EXPECT_EQ(table.Register(Pool("a"), Load(0), 2), Registered::kSuperseded);
  EXPECT_EQ(table.Heartbeat("a", 1, 1, Load(0), 2), Heard::kSuperseded);
  EXPECT_EQ(table.Register(Pool("a", 2), Load(0), 3), Registered::kJoined);
}

TEST(NodeTable, ExpectsPoolsFromBeforeARestartForAWhile) {
  NodeTable table(SmallLimits());
  table.Expect(Pool("a"), 0);
  table.Expect(Pool("b"), 0);
  EXPECT_EQ(table.Heartbeat("a", 1, 1, Load(0), 1), Heard::kUnknown);
  EXPECT_EQ(table.Register(Pool("a"), Load(0), 1), Registered::kJoined);
  table.Heartbeat("a", 1, 1, Load(0), 9 * kSecond);
  const NodeTable::Expired expired = table.Expire(10 * kSecond);
  ASSERT_EQ(expired.lost.size(), 1u);
  EXPECT_EQ(expired.lost[0].pool_id, "b");
}

TEST(NodeTable, TurnsPoolsAwayWhenFull) {
  NodeTable table(SmallLimits());
  for (const char* id : {"a", "b", "c"}) {
    EXPECT_EQ(table.Register(Pool(id), Load(0), 0), Registered::kJoined);
  }
  EXPECT_EQ(table.Register(Pool("d"), Load(0), 0), Registered::kFull);
  EXPECT_EQ(table.Register(Pool("c", 2), Load(0), 5 * kSecond), Registered::kJoined);
  table.Expect(Pool("e"), 0);
  EXPECT_EQ(table.nodes().size(), 3u);
}

}  // namespace
}  // namespace sheaf::scheduler
