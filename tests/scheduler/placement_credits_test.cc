// Credits: what a borrower that pauses may begin again without a question, and when it may not.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "scheduler/placement_core.h"

namespace sheaf::scheduler {
namespace {

PoolOffer Offer(std::uint64_t cpus) {
  PoolOffer offer;
  offer.cpus_milli = cpus * 1000;
  if (cpus > 0) offer.address = "h:1";
  return offer;
}
LeaseWant Want(std::uint64_t job, std::uint32_t slots) {
  LeaseWant want;
  want.job = job;
  want.slots = slots;
  return want;
}

class CreditTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* borrower : {"near", "near2"}) core_.PoolUp(borrower, 1, Offer(0), 0);
    core_.PoolUp("far", 1, Offer(4), 0);
  }
  void TearDown() override { core_.Check(); }
  // `near` had a grant of so many slots, and has parked what stood for it.
  CreditInfo Park(std::uint32_t slots) {
    Report("near", {Want(7, slots)}, {});
    const GrantInfo grant = core_.GrantsOf("near").at(0);
    Report("near", {}, {grant});
    Report("near", {}, {}, {grant.id});
    return core_.CreditsOf("near").at(0);
  }
  void Report(const std::string& pool, std::vector<LeaseWant> wants, std::vector<GrantInfo> held,
              std::vector<std::uint64_t> parked = {}, std::vector<std::uint64_t> begun = {}) {
    PoolReport report;
    report.wants = std::move(wants);
    report.held = std::move(held);
    report.parked = std::move(parked);
    report.begun = std::move(begun);
    core_.Report(pool, report, 0);
    core_.Check();
  }
  PlacementCore core_{PlacementCore::Limits{}, 1};
};

TEST_F(CreditTest, HoldsNoSlots) {
  Park(4);
  EXPECT_EQ(core_.FreeMilli(), 4000u);
  EXPECT_TRUE(core_.GrantsOf("near").empty());
}

TEST_F(CreditTest, NamesTheNextGrantForWhatWasParked) {
  const CreditInfo credit = Park(2);
  EXPECT_NE(credit.grant.id, credit.parked);
  EXPECT_EQ(credit.grant.lender, "far");
  EXPECT_EQ(credit.grant.job, 7u);
  EXPECT_EQ(credit.grant.slots, 2u);
}

TEST_F(CreditTest, StaysTheSameForTheSameReport) {
  const CreditInfo credit = Park(2);
  Report("near", {}, {}, {credit.parked});
  EXPECT_EQ(core_.CreditsOf("near"), std::vector<CreditInfo>{credit});
}

TEST_F(CreditTest, IsOverOnceWhatItFollowsIsNotNamed) {
  const CreditInfo credit = Park(2);
  Report("near", {}, {});
  EXPECT_TRUE(core_.CreditsOf("near").empty());
  Report("near", {}, {credit.grant}, {}, {credit.grant.id});
  EXPECT_TRUE(core_.GrantsOf("near").empty()) << "nor can it be begun";
}

TEST_F(CreditTest, CountsFromTheReportThatSaysItHasBegun) {
  const CreditInfo credit = Park(3);
  Report("near", {}, {credit.grant}, {}, {credit.grant.id});
  EXPECT_EQ(core_.GrantsOf("near"), std::vector<GrantInfo>{credit.grant});
  EXPECT_EQ(core_.FreeMilli(), 1000u);
  EXPECT_TRUE(core_.CreditsOf("near").empty());
}

TEST_F(CreditTest, IsNotOfferedWhileOthersHaveTheSlots) {
  const CreditInfo credit = Park(3);
  Report("near2", {Want(1, 2)}, {});
  EXPECT_TRUE(core_.CreditsOf("near").empty());
  Report("near2", {}, {});
  EXPECT_EQ(core_.CreditsOf("near"), std::vector<CreditInfo>{credit}) << "and again when they have returned them";
}

TEST_F(CreditTest, BegunAfterOthersWereGrantedTheSlotsIsOver) {
  const CreditInfo credit = Park(3);
  Report("near2", {Want(1, 2)}, {});
  Report("near", {}, {credit.grant}, {}, {credit.grant.id});
  EXPECT_TRUE(core_.GrantsOf("near").empty());
  EXPECT_EQ(core_.FreeMilli(), 2000u);
}

TEST_F(CreditTest, IsNotBegunWhileTheLendersOwnJobsUseTheSlots) {
  const CreditInfo credit = Park(3);
  core_.Report("far", {2000, {}, {}}, 0);
  EXPECT_TRUE(core_.CreditsOf("near").empty());
  Report("near", {}, {credit.grant}, {}, {credit.grant.id});
  EXPECT_TRUE(core_.GrantsOf("near").empty());
}

// Else a job that asks while its relay begins would have the slots twice, and one of the two in vain.
TEST_F(CreditTest, IsWhatItsJobGetsWhenItAsks) {
  const CreditInfo credit = Park(2);
  Report("near", {Want(7, 2)}, {}, {credit.parked});
  EXPECT_EQ(core_.GrantsOf("near"), std::vector<GrantInfo>{credit.grant});
  Report("near", {Want(7, 2)}, {credit.grant}, {}, {credit.grant.id});
  EXPECT_EQ(core_.GrantsOf("near"), std::vector<GrantInfo>{credit.grant}) << "whoever was first";
}

TEST_F(CreditTest, EndsWithTheLendersLife) {
  const CreditInfo credit = Park(2);
  core_.PoolUp("far", 2, Offer(4), 0);
  EXPECT_TRUE(core_.CreditsOf("near").empty());
  Report("near", {}, {credit.grant}, {}, {credit.grant.id});
  EXPECT_TRUE(core_.GrantsOf("near").empty());
}

TEST_F(CreditTest, OfALostBorrowerIsRefusedByItsLender) {
  const CreditInfo credit = Park(2);
  core_.PoolDown("near", 0);
  EXPECT_EQ(core_.VoidedOn("far"), std::vector<std::uint64_t>{credit.grant.id});
}

TEST_F(CreditTest, OfAnEarlierEpochCountsOnlyWhereThereIsRoom) {
  GrantInfo begun = Park(3).grant;
  PlacementCore next{PlacementCore::Limits{}, 2};
  for (const char* borrower : {"near", "near2"}) next.PoolUp(borrower, 1, Offer(0), 0);
  next.PoolUp("far", 1, Offer(4), 0);
  PoolReport other, report;
  other.wants = {Want(1, 2)};
  next.Report("near2", other, 0);
  report.held = {begun};
  report.begun = {begun.id};
  next.Report("near", report, 0);
  EXPECT_TRUE(next.GrantsOf("near").empty());
  next.Check();
}

TEST_F(CreditTest, IsNotGivenForWhatNeedsCustomResources) {
  PoolOffer offer = Offer(4);
  offer.has.resources["gpu"] = 2000;
  core_.PoolUp("far", 1, offer, 0);
  LeaseWant want = Want(7, 1);
  want.needs.resources["gpu"] = 1000;
  Report("near", {want}, {});
  const std::vector<GrantInfo> grants = core_.GrantsOf("near");
  ASSERT_EQ(grants.size(), 1u);
  Report("near", {}, {}, {grants[0].id});
  EXPECT_TRUE(core_.CreditsOf("near").empty());
}

}  // namespace
}  // namespace sheaf::scheduler
