// One test per reason, each from a core that really decided so.
#include "scheduler/placement_why.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace sheaf::scheduler {
namespace {

constexpr Time kSecond = 1'000'000'000;

class PlacementWhyTest : public ::testing::Test {
 protected:
  void Up(const std::string& id, std::uint64_t cpus, Resources resources = {}, std::set<std::string> labels = {}) {
    PoolOffer offer;
    offer.cpus_milli = cpus * 1000;
    offer.address = "h:1";
    offer.has.resources = std::move(resources);
    offer.has.labels = std::move(labels);
    core_.PoolUp(id, 1, offer, 0);
    if (!standing_.contains(id)) standing_[id] = Standing::kAlive;
  }
  static LeaseWant Want(std::uint64_t job, std::uint32_t slots, std::uint32_t milli = 1000) {
    LeaseWant want;
    want.job = job;
    want.slots = slots;
    want.cpus_milli = milli;
    return want;
  }
  // As a pool that keeps all it was given; `own`: CPUs that its own jobs use.
  void Report(const std::string& pool, std::vector<LeaseWant> wants, Time now = 0, std::uint64_t own = 0) {
    core_.Report(pool, {own * 1000, std::move(wants), core_.GrantsOf(pool)}, now);
  }
  ClusterView View(Time now = 0) {
    ClusterView view;
    for (const auto& [id, standing] : standing_) {
      PoolRow row;
      row.pool.pool_id = id;
      row.standing = standing;
      row.draining = id == draining_;
      row.silent_ms = 1500;
      view.pools.push_back(row);
    }
    core_.Show(now, &view);
    return view;
  }
  Reason Ask(const std::string& pool, std::uint64_t job, Time now = 0) {
    const auto why = Why(View(now), pool, job);
    text_.clear();
    if (!why) return Reason::kNext;
    for (const std::string& sentence : why->sentences) text_ += sentence + " ";
    return why->reason;
  }
  bool Says(const std::string& what) const { return text_.find(what) != std::string::npos; }

  PlacementCore core_{PlacementCore::Limits{}, 1};
  std::map<std::string, Standing> standing_;
  std::string draining_, text_;
};

TEST_F(PlacementWhyTest, SaysWhatAJobWasGranted) {
  Up("near", 0), Up("a", 2), Up("b", 4);
  Report("near", {Want(1, 6)});
  EXPECT_EQ(Ask("near", 1), Reason::kGranted);
  EXPECT_TRUE(Says("wants 6 slots and holds 4 on b, 2 on a.")) << text_;
}

TEST_F(PlacementWhyTest, SaysThatAJobWantsNothing) {
  Up("near", 0), Up("a", 2);
  Report("near", {Want(1, 2)});
  Report("near", {});
  EXPECT_EQ(Ask("near", 1), Reason::kWantsNothing);
  EXPECT_TRUE(Says("holds 2 on a yet")) << text_;
}

TEST_F(PlacementWhyTest, KnowsNothingOfAJobThatNobodyTellsOf) {
  Up("near", 0), Up("a", 2);
  EXPECT_FALSE(Why(View(), "near", 9));
  EXPECT_FALSE(Why(View(), "nobody", 9));
  ClusterView cut = View();
  cut.left_out = 1;  // it may be the one that had no room
  ASSERT_TRUE(Why(cut, "near", 9));
  EXPECT_EQ(Why(cut, "near", 9)->reason, Reason::kWantsNothing);
}

TEST_F(PlacementWhyTest, NamesWhoHoldsWhatNobodyHasFree) {
  Up("near", 0), Up("other", 0), Up("a", 2), Up("b", 4);
  Report("b", {}, 0, 1);
  Report("other", {Want(7, 5)});
  Report("near", {Want(1, 3)});
  EXPECT_EQ(Ask("near", 1, 3 * kSecond / 2), Reason::kNobodyFree);
  EXPECT_TRUE(Says("wants 3 slots of 1 CPU, holds none and has waited for 1.5 s.")) << text_;
  EXPECT_TRUE(Says("a (2 by other/7), b (1 by its own jobs, 3 by other/7)")) << text_;
}

TEST_F(PlacementWhyTest, NamesWhoHoldsTheResourceThatIsScarce) {
  Up("near", 0), Up("g", 8, {{"gpu", 1000}});
  LeaseWant one = Want(1, 1), two = Want(2, 1);
  one.needs.resources = two.needs.resources = {{"gpu", 1000}};
  Report("near", {one});
  Report("near", {one, two});
  EXPECT_EQ(Ask("near", 2), Reason::kNobodyFree) << "CPUs are free, the resource is not";
  EXPECT_TRUE(Says("of 1 CPU, 1 gpu, holds none")) << text_;
  EXPECT_TRUE(Says("g (1 by near/1)")) << text_;
}

TEST_F(PlacementWhyTest, SaysWhichCpusResourcesOrLabelsNoPoolOffers) {
  Up("near", 64, {{"tpu", 9000}}), Up("a", 2, {{"gpu", 1000}}), Up("b", 4, {}, {"zone=x"});
  LeaseWant want = Want(1, 1, 4500);
  Report("near", {want});
  EXPECT_EQ(Ask("near", 1), Reason::kInfeasible) << "its own pool is large enough, but that is not elsewhere";
  EXPECT_TRUE(Says("No other pool has 4.5 CPUs in one slot (the largest pool has 4), busy or not.")) << text_;
  want = Want(2, 1);
  want.needs.resources = {{"gpu", 1500}, {"tpu", 1000}};
  want.needs.labels = {"zone=x", "zone=y"};
  Report("near", {want});
  EXPECT_EQ(Ask("near", 2), Reason::kInfeasible);
  EXPECT_TRUE(Says("1.5 gpu (at most 1), nor 1 tpu, nor the label zone=y, busy or not")) << text_;
  want.needs.resources = {{"gpu", 1000}};
  want.needs.labels = {"zone=x"};
  Report("near", {want});
  EXPECT_EQ(Ask("near", 2), Reason::kInfeasible);
  EXPECT_TRUE(Says("all of that together")) << text_;
}

TEST_F(PlacementWhyTest, SaysThatThereIsNobodyWhoLends) {
  Up("near", 4);
  Report("near", {Want(1, 1)});
  EXPECT_EQ(Ask("near", 1), Reason::kInfeasible);
  EXPECT_TRUE(Says("No other pool of the cluster lends anything.")) << text_;
}

TEST_F(PlacementWhyTest, SaysThatAFairShareIsReached) {
  Up("near", 0), Up("other", 0);
  Report("near", {Want(1, 8)});
  Report("other", {Want(2, 8)});
  Up("a", 4);
  EXPECT_EQ(Ask("near", 1), Reason::kFairShare);
  EXPECT_TRUE(Says("no job on the pools that it could use has more than its 2 slots")) << text_;
  EXPECT_TRUE(Says("a (2 by other/2, 2 by this job)")) << text_;
  EXPECT_EQ(Ask("other", 2), Reason::kFairShare);
}

TEST_F(PlacementWhyTest, TellsAFairShareFromTheRestThatOthersLeft) {
  Up("near", 0), Up("other", 0), Up("a", 8);
  Report("other", {Want(2, 6)});
  Report("near", {Want(1, 8)});
  EXPECT_EQ(Ask("near", 1), Reason::kNobodyFree);
  EXPECT_TRUE(Says("taken back from others only for a job that has none")) << text_;
}

TEST_F(PlacementWhyTest, SaysThatItsPoolIsLostOrHasLeftOrWasNotHeardOf) {
  Up("near", 0), Up("a", 2);
  Report("near", {Want(1, 6)});
  core_.PoolDown("near", 0);
  standing_["near"] = Standing::kLost;
  EXPECT_EQ(Ask("near", 1), Reason::kPoolGone);
  EXPECT_TRUE(Says("is lost: nothing was heard of it for 1.5 s")) << text_;
  standing_["near"] = Standing::kLeft;
  EXPECT_EQ(Ask("near", 1), Reason::kPoolGone);
  EXPECT_TRUE(Says("has left")) << text_;
  standing_["near"] = Standing::kExpected;
  EXPECT_EQ(Ask("near", 1), Reason::kPoolGone);
  EXPECT_TRUE(Says("restarted, and its pool near has not reported since")) << text_;
}

TEST_F(PlacementWhyTest, SaysWhatWasGrantedBeforeTheSchedulersRestart) {
  core_.Expect({5, "near", 1, 3, "a", 1, 2, 1000, 0});
  Up("near", 0), Up("a", 2);
  EXPECT_EQ(Ask("near", 3), Reason::kPoolGone) << "a member again, and it has not said yet what its jobs want";
  EXPECT_TRUE(Says("Granted before: 2 on a.")) << text_;
  Report("near", {Want(3, 1)});
  EXPECT_EQ(Ask("near", 3), Reason::kGranted);
}

TEST_F(PlacementWhyTest, SaysThatItsPoolIsDraining) {
  Up("near", 0), Up("a", 2);
  Report("near", {Want(1, 6)});
  draining_ = "near";
  EXPECT_EQ(Ask("near", 1), Reason::kPoolDrains);
  EXPECT_TRUE(Says("near is draining")) << text_;
}

TEST_F(PlacementWhyTest, SaysThatItsPoolHoldsAsMuchAsOneMay) {
  Up("near", 0);
  ClusterView view;
  Up("a", 2000);
  std::vector<LeaseWant> wants;
  std::uint32_t slots = 0;
  while (core_.GrantsOf("near").size() < PlacementCore::Limits{}.grants_per_pool) Report("near", {Want(1, ++slots)});
  Report("near", {Want(1, slots + 1)});
  EXPECT_EQ(Ask("near", 1), Reason::kPoolLimit);
  EXPECT_TRUE(Says("1024 grants")) << text_;
}

TEST_F(PlacementWhyTest, SaysThatRoomWillBeGrantedNext) {
  Up("near", 0), Up("a", 2);
  Report("a", {}, 0, 2);
  Report("near", {Want(1, 1)});
  ClusterView view = View();
  for (PoolRow& row : view.pools) row.own_milli = 0;  // between two reports: the core serves with the next
  const auto why = Why(view, "near", 1);
  ASSERT_TRUE(why);
  EXPECT_EQ(why->reason, Reason::kNext);
}

TEST_F(PlacementWhyTest, KnowsNoJobsOfAPoolThatDoesNotExist) { EXPECT_FALSE(Why(View(), "nobody", 1)); }

// A few pools with long names must not make an answer too large to be sent.
TEST_F(PlacementWhyTest, TheViewIsBoundedAndSaysWhatItLeftOut) {
  std::vector<LeaseWant> wants;
  for (std::uint64_t job = 1; job <= 256; ++job) {
    wants.push_back(Want(job, 1));
    for (int i = 0; i < 64; ++i) wants.back().needs.labels.insert(std::to_string(i) + std::string(900, 'x'));
  }
  Up("near", 0);
  Report("near", wants);
  const ClusterView view = View();
  EXPECT_GT(view.jobs.size(), 10u);
  EXPECT_EQ(view.jobs.size() + view.left_out, 256u);
}

}  // namespace
}  // namespace sheaf::scheduler
