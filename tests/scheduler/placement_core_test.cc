#include "scheduler/placement_core.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace sheaf::scheduler {
namespace {

constexpr Time kMs = 1'000'000;

PoolOffer Offer(std::uint64_t cpus) {
  PoolOffer offer;
  offer.cpus_milli = cpus * 1000;
  offer.address = "h:1";
  return offer;
}
LeaseWant Want(std::uint64_t job, std::uint32_t slots, std::uint32_t milli = 1000) {
  LeaseWant want;
  want.job = job;
  want.slots = slots;
  want.cpus_milli = milli;
  return want;
}
PoolReport Wants(std::vector<LeaseWant> wants, std::vector<GrantInfo> held = {}) { return {0, std::move(wants), held}; }
std::uint32_t Slots(const std::vector<GrantInfo>& grants, std::uint64_t job = 0) {
  std::uint32_t slots = 0;
  for (const GrantInfo& grant : grants) slots += job == 0 || grant.job == job ? grant.slots : 0;
  return slots;
}

class PlacementTest : public ::testing::Test {
 protected:
  void SetUp() override {
    core_.PoolUp("near", 1, Offer(0), 0);
    core_.PoolUp("a", 1, Offer(4), 0);
    core_.PoolUp("b", 1, Offer(8), 0);
  }
  void TearDown() override { core_.Check(); }
  // As a pool that keeps all it was given.
  std::vector<GrantInfo> Report(const std::string& pool, std::vector<LeaseWant> wants, Time now = 0) {
    core_.Report(pool, Wants(std::move(wants), core_.GrantsOf(pool)), now);
    core_.Check();
    return core_.GrantsOf(pool);
  }
  PlacementCore core_{PlacementCore::Limits{}, 1};
};

TEST_F(PlacementTest, GrantsABacklogAtOnceAndWhereMostIsFreeFirst) {
  const auto grants = Report("near", {Want(1, 6)});
  ASSERT_EQ(grants.size(), 1u);
  EXPECT_EQ(grants[0].lender, "b");
  EXPECT_EQ(grants[0].slots, 6u);
  EXPECT_EQ(Slots(Report("near", {Want(1, 100)})), 12u) << "all there is";
}

TEST_F(PlacementTest, TakesBackWhatAReportDoesNotName) {
  EXPECT_EQ(Slots(Report("near", {Want(1, 12)})), 12u);
  core_.Report("near", Wants({}), 1);
  EXPECT_TRUE(core_.GrantsOf("near").empty());
  EXPECT_EQ(core_.FreeMilli(), 12'000u);
}

TEST_F(PlacementTest, SaysTheSameToTheSameReport) {
  const auto grants = Report("near", {Want(1, 6)});
  EXPECT_EQ(Report("near", {Want(1, 6)}), grants);
  EXPECT_EQ(core_.granted(), 6u);
}

TEST_F(PlacementTest, CountsWhatTheLendersOwnJobsUse) {
  core_.Report("b", {8000, {}, {}}, 0);
  EXPECT_EQ(Slots(Report("near", {Want(1, 20)})), 4u);
  core_.Report("b", {2000, {}, {}}, 1);
  EXPECT_EQ(Slots(core_.GrantsOf("near")), 10u) << "as soon as they use less";
}

TEST_F(PlacementTest, LendsNobodyItsOwnSlots) { EXPECT_EQ(Slots(Report("b", {Want(1, 20)})), 4u); }

TEST_F(PlacementTest, GoesWhereTheBytesAre) {
  LeaseWant want = Want(1, 3);
  want.bytes = {{"a", 1'000'000}, {"nobody", 5'000'000}};
  EXPECT_EQ(Report("near", {want})[0].lender, "a");
}

TEST_F(PlacementTest, KeepsToCpusResourcesAndLabelsExactly) {
  EXPECT_EQ(Slots(Report("near", {Want(1, 10, 3000)})), 3u) << "two in b, one in a";
  core_.Report("near", Wants({}), 1);
  PoolOffer offer = Offer(8);
  offer.has.resources["gpu"] = 1500;
  offer.has.labels = {"disk=fast", "zone=x"};
  core_.PoolUp("g", 1, offer, 1);
  LeaseWant want = Want(2, 10);
  want.needs.resources["gpu"] = 500;
  want.needs.labels = {"zone=x"};
  auto grants = Report("near", {want}, 1);
  EXPECT_EQ(Slots(grants), 3u);
  EXPECT_EQ(grants[0].lender, "g");
  want.needs.labels = {"zone=y"};
  want.job = 3;
  grants = Report("near", {want}, 2);
  EXPECT_EQ(Slots(grants, 3), 0u);
  EXPECT_TRUE(core_.InfeasibleOf("near").empty());  // somebody who has it may be joining
  core_.Tick(2'000'000'002);
  EXPECT_EQ(core_.InfeasibleOf("near"), std::vector<std::uint64_t>{3});
}

TEST_F(PlacementTest, KeepsApartTheJobsOfOnePoolThatWantAndThoseThatOnlyHave) {
  EXPECT_EQ(Slots(Report("near", {Want(3, 4), Want(5, 4)}), 3), 4u);
  // The older job wants nothing more and has its grants yet; the younger one goes on.
  EXPECT_EQ(Slots(Report("near", {Want(5, 8)}), 5), 8u);
  EXPECT_EQ(Slots(Report("near", {Want(5, 8)}), 3), 4u);
}

TEST_F(PlacementTest, SharesBetweenJobsOfDifferentPools) {
  core_.PoolUp("near2", 1, Offer(0), 0);
  EXPECT_EQ(Slots(Report("near", {Want(1, 12)})), 12u);
  EXPECT_EQ(Slots(Report("near2", {Want(1, 12)})), 0u);
  // Whoever has nothing gets something from the richest, after a while.
  for (Time now = 0; now < 10'000 * kMs; now += 100 * kMs) {
    core_.Tick(now);
    Report("near", {Want(1, 12)}, now);
    Report("near2", {Want(1, 12)}, now);
  }
  EXPECT_GE(Slots(core_.GrantsOf("near2")), 1u);
  core_.PoolUp("c", 1, Offer(10), 10'000 * kMs);
  EXPECT_LE(std::max(Slots(core_.GrantsOf("near")), Slots(core_.GrantsOf("near2"))), 12u);
}

TEST_F(PlacementTest, EndsTheGrantsOfALenderThatIsGone) {
  EXPECT_EQ(Slots(Report("near", {Want(1, 12)})), 12u);
  core_.PoolDown("b", 1);
  EXPECT_EQ(Slots(core_.GrantsOf("near")), 4u);
  core_.PoolUp("b", 2, Offer(8), 2);
  const auto grants = core_.GrantsOf("near");
  EXPECT_EQ(Slots(grants), 12u) << "and grants anew when it is back";
  EXPECT_EQ(grants.back().lender_incarnation, 2u);
}

TEST_F(PlacementTest, FreesWhatABorrowerThatIsGoneHad) {
  EXPECT_EQ(Slots(Report("near", {Want(1, 12)})), 12u);
  EXPECT_TRUE(core_.VoidedOn("b").empty());
  const auto grants = core_.GrantsOf("near");
  core_.PoolDown("near", 1);
  EXPECT_EQ(core_.FreeMilli(), 12'000u);
  EXPECT_EQ(core_.VoidedOn("b"), std::vector<std::uint64_t>{grants[0].id}) << "the lender hears of it";
}

TEST_F(PlacementTest, CountsAfterARestartWhatIsStillInUse) {
  const auto held = Report("near", {Want(1, 12)});
  PlacementCore next(PlacementCore::Limits{}, 2);
  next.PoolUp("near", 1, Offer(0), 0);
  next.PoolUp("a", 1, Offer(4), 0);
  next.PoolUp("b", 1, Offer(8), 0);
  next.Report("near", Wants({Want(1, 12)}, held), 0);
  next.Check();
  EXPECT_EQ(next.GrantsOf("near"), held) << "the same, and no more";
  EXPECT_EQ(next.FreeMilli(), 0u);
}

TEST_F(PlacementTest, TakesNothingForAGrantThatItEndedItself) {
  const auto held = Report("near", {Want(1, 4)});
  core_.PoolDown("b", 1);
  core_.PoolUp("b", 2, Offer(8), 1);
  core_.Report("near", Wants({}, held), 2);
  EXPECT_TRUE(core_.GrantsOf("near").empty());
}

TEST_F(PlacementTest, BoundsWhatOnePoolMayAskFor) {
  PlacementCore::Limits limits;
  limits.wants_per_pool = 2;
  PlacementCore core(limits, 1);
  core.PoolUp("near", 1, Offer(0), 0);
  core.PoolUp("a", 1, Offer(100), 0);
  core.Report("near", Wants({Want(1, 1), Want(2, 1), Want(3, 1)}), 0);
  core.Check();
  EXPECT_EQ(core.GrantsOf("near").size(), 2u);
}

}  // namespace
}  // namespace sheaf::scheduler
