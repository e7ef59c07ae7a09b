#include "worker/pool_view.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

namespace sheaf {
namespace {

PoolView Full() {
  PoolView view;
  view.pool_id = "box-1";
  view.incarnation = 1795567692934560615;
  view.pid = 12;
  view.supervisor_pid = 11;
  view.address = "/run/pool.sock";
  view.machine = "box";
  view.scheduler = "unix:/run/s.sock";
  view.draining = true;
  view.uptime_ms = 99;
  view.slots = 8;
  view.slots_leased = 3;
  view.workers_running = 5;
  view.workers_idle = 2;
  view.clients = 6;
  view.segment_bytes = std::uint64_t{1} << 40;
  view.budget_bytes = std::uint64_t{1} << 41;
  view.tasks_executed = 1000;
  view.workers_died = 1;
  view.jobs.push_back({77, "/home/a/train", 5, 1000, 1 << 20});
  return view;
}

TEST(PoolView, IsTheSameAfterATripThroughJson) {
  const std::string text = ToJson(Full());
  const auto back = PoolViewFromJson(text);
  ASSERT_TRUE(back.has_value());
  EXPECT_EQ(ToJson(*back), text);
  EXPECT_EQ(back->incarnation, Full().incarnation);
  ASSERT_EQ(back->jobs.size(), 1u);
  EXPECT_EQ(back->jobs[0].program, "/home/a/train");
}

TEST(PoolView, IsValidJsonWhateverAProgramIsCalled) {
  PoolView view = Full();
  view.jobs[0].program = "/tmp/\xff\xfe\"\n\\x";
  const std::string text = ToJson(view);
  EXPECT_TRUE(nlohmann::json::accept(text)) << text;
  EXPECT_TRUE(PoolViewFromJson(text).has_value());
}

TEST(PoolView, StaysBelowOnePacketWithAThousandJobs) {
  PoolView view = Full();
  view.jobs.assign(1000, {4000000000, std::string(256, 'p'), 4000000000, ~0ull >> 1, ~0ull >> 1});
  const std::string text = ToJson(view);
  EXPECT_LT(text.size(), 60'000u);
  EXPECT_EQ(nlohmann::json::parse(text)["jobs_total"], 1000);
  EXPECT_EQ(PoolViewFromJson(text)->jobs.size(), kJobsShownMax);
}

TEST(PoolView, RefusesWhatIsNoView) {
  for (const char* text :
       {"", "null", "[]", "{}", "{\"schema\":\"sheaf.pool.v2\"}", "{\"schema\":1}",
        "{\"schema\":\"sheaf.pool.v1\",\"slots\":\"many\"}", "{\"schema\":\"sheaf.pool.v1\",\"jobs\":{}}",
        "{\"schema\":\"sheaf.pool.v1\",\"jobs\":[1]}", "{\"schema\":\"sheaf.pool.v1\"", "\xff\xff\xff"}) {
    EXPECT_FALSE(PoolViewFromJson(text).has_value()) << text;
  }
}

TEST(PoolView, TakesAnOlderPoolsShorterAnswer) {
  const auto view = PoolViewFromJson("{\"schema\":\"sheaf.pool.v1\",\"pool_id\":\"a\"}");
  ASSERT_TRUE(view.has_value());
  EXPECT_EQ(view->pool_id, "a");
  EXPECT_EQ(view->slots, 0);
}

}  // namespace
}  // namespace sheaf
