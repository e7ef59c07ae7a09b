#include "cli/placement_text.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

namespace sheaf::cli {
namespace {

using nlohmann::json;
using scheduler::ClusterView;
using scheduler::PoolRow;
using scheduler::Standing;

// near/3 wants six slots and has four on far; gone is lost.
ClusterView Three() {
  ClusterView view;
  view.cluster_id = "0123456789abcdef0123456789abcdef";
  view.epoch = 2;
  view.placement = true;
  PoolRow near, far, gone;
  near.pool.pool_id = "near";
  near.pool.machine = "box1";
  far.pool.pool_id = "far";
  far.pool.machine = "box2";
  far.pool.address = "/run/far.sock";
  far.load.slots = 6;
  far.offer.cpus_milli = 6000;
  far.offer.address = "10.0.0.2:7401";
  far.offer.has.resources = {{"gpu", 2000}};
  far.offer.has.labels = {"zone=x"};
  far.own_milli = 1500;
  far.lent_milli = 4000;
  far.lent = {{"gpu", 500}};
  gone.pool.pool_id = "gone";
  gone.standing = Standing::kLost;
  gone.silent_ms = 9000;
  view.pools = {far, gone, near};
  scheduler::JobRow job;
  job.pool = "near";
  job.job = 3;
  job.want.slots = 6;
  job.want.needs.labels = {"zone=x"};
  job.holds = 4;
  job.waiting_ms = 12'000;
  view.jobs = {job};
  view.grants = {{(std::uint64_t{2} << 40) + 17, "near", 5, 3, "far", 6, 4, 1000, 61'000, false}};
  return view;
}

TEST(PlacementText, ListsPoolsWithWhatTheyUseAndLend) {
  const std::string table = ListTable(Kind::kPools, Three());
  EXPECT_NE(table.find("POOL  STANDING  SLOTS  USED  LENT  FREE  SILENT FOR  MACHINE"), std::string::npos) << table;
  EXPECT_NE(table.find("far   alive         6   1.5     4   0.5"), std::string::npos) << table;
  EXPECT_NE(table.find("gone  lost"), std::string::npos) << table;
  EXPECT_NE(table.find("9 s"), std::string::npos) << table;
  const json out = json::parse(ListJson(Kind::kPools, Three()));
  EXPECT_EQ(out["schema"], "sheaf.list.v1");
  EXPECT_EQ(out["epoch"], 2);
  ASSERT_EQ(out["pools"].size(), 3u);
  EXPECT_EQ(out["pools"][0]["free_milli"], 500);
  EXPECT_EQ(out["pools"][0]["resources_milli"]["gpu"], 2000);
  EXPECT_EQ(out["pools"][0]["labels"][0], "zone=x");
  EXPECT_EQ(out["pools"][1]["standing"], "lost");
}

TEST(PlacementText, ListsJobsWithWhatTheyWantAndHoldWhere) {
  const std::string table = ListTable(Kind::kJobs, Three());
  EXPECT_NE(table.find("near/3  box1      6  1 CPU, zone=x      4  4 on far     12 s\n"), std::string::npos) << table;
  const json out = json::parse(ListJson(Kind::kJobs, Three()));
  ASSERT_EQ(out["jobs"].size(), 1u);
  EXPECT_EQ(out["jobs"][0]["job_id"], "near/3");
  EXPECT_EQ(out["jobs"][0]["machine"], "box1");
  EXPECT_EQ(out["jobs"][0]["on"], (json{{{"pool_id", "far"}, {"slots", 4}}}));
  EXPECT_EQ(out["jobs"][0]["waiting_ms"], 12'000);
  ClusterView served = Three();
  served.jobs[0].want.slots = 4;
  EXPECT_TRUE(json::parse(ListJson(Kind::kJobs, served))["jobs"][0]["waiting_ms"].is_null());
  served.jobs.clear();
  EXPECT_EQ(ListTable(Kind::kJobs, served), "no job wants or holds slots of another pool\n");
}

TEST(PlacementText, ListsGrantsByEpochAndNumber) {
  EXPECT_EQ(ListTable(Kind::kGrants, Three()),
            "GRANT  JOB     LENDER  SLOTS  CPUS    AGE  STANDING\n"
            "2.17   near/3  far         4     1  1 min  granted\n");
  const json out = json::parse(ListJson(Kind::kGrants, Three()));
  EXPECT_EQ(out["grants"][0]["epoch"], 2);
  EXPECT_EQ(out["grants"][0]["lender"], "far");
  EXPECT_FALSE(out["grants"][0].contains("ticket"));
}

TEST(PlacementText, MarksWhatIsKnownFromBeforeARestartOnly) {
  ClusterView view = Three();
  view.grants[0].expected = true;
  view.jobs[0] = {};
  view.jobs[0].pool = "near";
  view.jobs[0].job = 3;
  view.jobs[0].holds = 4;
  view.jobs[0].expected = true;
  EXPECT_NE(ListTable(Kind::kGrants, view).find("1 min  expected\n"), std::string::npos);
  const std::string jobs = ListTable(Kind::kJobs, view);
  EXPECT_NE(jobs.find("near/3  box1      ?  ?       4  4 on far  expected\n"), std::string::npos) << jobs;
  EXPECT_NE(JobTable(view, {"near", 3}).find("not known"), std::string::npos);
  const json out = json::parse(ListJson(Kind::kJobs, view))["jobs"][0];
  EXPECT_EQ(out["expected"], true);
  EXPECT_TRUE(out["wants"].is_null());
  EXPECT_EQ(json::parse(ListJson(Kind::kGrants, view))["grants"][0]["standing"], "expected");
}

TEST(PlacementText, ShowsOnePoolWithItsJobsAndGrants) {
  const std::string far = PoolTable(Three(), "far");
  EXPECT_NE(far.find("slots       6: 1.5 used by its own jobs, 4 lent, 0.5 free\n"), std::string::npos) << far;
  EXPECT_NE(far.find("also has    2 gpu (0.5 lent), zone=x\n"), std::string::npos) << far;
  EXPECT_NE(far.find("\nGRANT"), std::string::npos) << far;
  EXPECT_EQ(far.find("\nJOB"), std::string::npos) << "the job is at home elsewhere: " << far;
  EXPECT_EQ(PoolTable(Three(), "nobody"), "");
  const json near = json::parse(PoolJson(Three(), "near"));
  EXPECT_EQ(near["pool"]["pool_id"], "near");
  EXPECT_EQ(near["jobs"].size(), 1u);
  EXPECT_EQ(near["grants"].size(), 1u);
  EXPECT_TRUE(json::parse(PoolJson(Three(), "nobody"))["pool"].is_null());
}

TEST(PlacementText, ShowsOneJob) {
  const std::string text = JobTable(Three(), {"near", 3});
  EXPECT_NE(text.find("home        near on box1\n"), std::string::npos) << text;
  EXPECT_NE(text.find("wants       6 slots of 1 CPU, zone=x\n"), std::string::npos) << text;
  EXPECT_NE(text.find("holds       4: 4 on far\n"), std::string::npos) << text;
  EXPECT_EQ(JobTable(Three(), {"near", 4}), "");
  EXPECT_EQ(json::parse(JobJson(Three(), {"near", 3}))["job"]["holds"], 4);
  EXPECT_TRUE(json::parse(JobJson(Three(), {"near", 4}))["job"].is_null());
}

TEST(PlacementText, GivesTheReasonInSentencesAndInAWord) {
  const auto why = scheduler::Why(Three(), "near", 3);
  ASSERT_TRUE(why);
  EXPECT_NE(WhyText(*why).find("far (1.5 by its own jobs, 4 by this job)"), std::string::npos) << WhyText(*why);
  const json out = json::parse(WhyJson(Three(), {"near", 3}, why));
  EXPECT_EQ(out["schema"], "sheaf.why.v1");
  EXPECT_EQ(out["reason"], "nobody_free");
  EXPECT_EQ(out["sentences"].size(), 2u) << "who it has to wait for is nobody else: no word of taking back";
  EXPECT_TRUE(json::parse(WhyJson(Three(), {"nobody", 3}, std::nullopt))["reason"].is_null());
}

TEST(PlacementText, IsAlwaysOneValidDocument) {
  const NoAnswer none{"/run/\xff.sock", "bad \"name\""};
  for (const Kind kind : {Kind::kPools, Kind::kJobs, Kind::kGrants}) {
    const json out = json::parse(ListJson(kind, {}, &none));
    EXPECT_EQ(out["unreachable"].size(), 1u);
    EXPECT_TRUE(out["epoch"].is_null());
  }
  EXPECT_TRUE(json::parse(PoolJson({}, "a", &none))["pool"].is_null());
  EXPECT_TRUE(json::parse(WhyJson({}, {"a", 1}, std::nullopt, &none))["job"].is_null());
}

TEST(PlacementText, DoesNotLetADaemonDriveTheTerminal) {
  ClusterView view = Three();
  view.pools[0].pool.machine = "\x1b[2J";
  view.jobs[0].want.needs.labels = {"\x1b[31m"};
  for (const std::string& text : {ListTable(Kind::kPools, view), ListTable(Kind::kJobs, view), PoolTable(view, "far"),
                                  JobTable(view, {"near", 3}), WhyText(*scheduler::Why(view, "near", 3))})
    EXPECT_EQ(text.find('\x1b'), std::string::npos) << text;
}

TEST(PlacementText, ReadsTheNamesOfJobs) {
  const auto job = ParseJobName("near-1.x/4294967295");
  ASSERT_TRUE(job);
  EXPECT_EQ(job->pool, "near-1.x");
  EXPECT_EQ(job->number, 0xffffffffu);
  const auto shape = ParseJobName("near/4096.3");
  ASSERT_TRUE(shape);
  EXPECT_EQ(scheduler::JobText(shape->number), "4096.3");
  for (const char* text : {"", "near", "/3", "near/", "near/x", "near/3x", "near/-3", "near/4294967296", "near/3.",
                           "near/3.0", "near/3.x", "near/3.1.2"})
    EXPECT_FALSE(ParseJobName(text)) << text;
}

}  // namespace
}  // namespace sheaf::cli
