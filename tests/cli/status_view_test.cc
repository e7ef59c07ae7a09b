#include "cli/status_view.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

namespace sheaf::cli {
namespace {

using nlohmann::json;
using scheduler::Standing;

MachineStatus Two() {
  MachineStatus status;
  scheduler::ClusterView cluster;
  cluster.cluster_id = "0123456789abcdef0123456789abcdef";
  cluster.epoch = 3;
  cluster.pid = 5;
  cluster.address = "unix:/run/s.sock";
  cluster.uptime_ms = 61'000;
  scheduler::PoolRow here;
  here.pool.pool_id = "here-1";
  here.pool.incarnation = 7;
  here.load.slots = 4;
  scheduler::PoolRow gone;
  gone.pool.pool_id = "gone-1";
  gone.pool.incarnation = 8;
  gone.standing = Standing::kLost;
  gone.silent_ms = 9000;
  cluster.pools = {here, gone};
  status.clusters.push_back(cluster);
  PoolView own;
  own.pool_id = "here-1";
  own.incarnation = 7;
  own.slots = 4;
  own.workers_running = 3;
  own.workers_idle = 1;
  own.segment_bytes = 512 << 20;
  own.budget_bytes = std::uint64_t{4} << 30;
  own.scheduler = "unix:/run/s.sock";
  own.jobs.push_back({42, "/home/a/train", 3, 12345, 1 << 20});
  status.pools.push_back(own);
  return status;
}

TEST(StatusView, ShowsAPoolOnceThoughTwoTellOfIt) {
  const json out = json::parse(RenderJson(Two()));
  EXPECT_EQ(out["schema"], "sheaf.status.v1");
  ASSERT_EQ(out["schedulers"].size(), 1u);
  ASSERT_EQ(out["pools"].size(), 2u);
  const json& here = out["pools"][0];
  EXPECT_EQ(here["pool_id"], "here-1");
  EXPECT_EQ(here["state"], "alive");
  EXPECT_EQ(here["workers_running"], 3) << "the pool's own word is fresher";
  EXPECT_EQ(here["jobs"][0]["driver_pid"], 42);
  EXPECT_EQ(here["cluster_id"], "0123456789abcdef0123456789abcdef");
  EXPECT_EQ(out["pools"][1]["state"], "lost");
  EXPECT_TRUE(out["pools"][1]["jobs"].is_null());
}

TEST(StatusView, TellsAnotherLifeOfAPoolApart) {
  MachineStatus status = Two();
  status.pools[0].incarnation = 6;
  EXPECT_EQ(json::parse(RenderJson(status))["pools"].size(), 3u);
}

TEST(StatusView, IsAlwaysOneValidDocument) {
  const json empty = json::parse(RenderJson({}));
  EXPECT_TRUE(empty["pools"].is_array());
  EXPECT_TRUE(empty["pools"].empty());
  MachineStatus status;
  status.unreachable.push_back({"/run/\xff.sock", "bad \"name\""});
  EXPECT_EQ(json::parse(RenderJson(status))["unreachable"].size(), 1u);
}

TEST(StatusView, DrawsATableWithoutTrailingBlanks) {
  const std::string table = RenderTable(Two());
  EXPECT_NE(table.find("cluster 01234567  epoch 3  up 1 min"), std::string::npos) << table;
  EXPECT_NE(table.find("512 MiB / 4 GiB"), std::string::npos) << table;
  EXPECT_NE(table.find("lost (silent 9 s)"), std::string::npos) << table;
  EXPECT_NE(table.find("/home/a/train"), std::string::npos) << table;
  EXPECT_EQ(table.find(" \n"), std::string::npos);
}

TEST(StatusView, APoolThatIsNoMoreHoldsNothingButKeepsWhatItDid) {
  MachineStatus status = Two();
  status.clusters[0].pools[1].load = {.slots = 4, .slots_leased = 3, .workers_running = 2, .tasks_executed = 777};
  const std::string table = RenderTable(status);
  EXPECT_EQ(table.find("3/4"), std::string::npos) << table;
  EXPECT_NE(table.find("777"), std::string::npos) << table;
  status.clusters[0].pools[1].standing = Standing::kAlive;
  EXPECT_NE(RenderTable(status).find("3/4"), std::string::npos);
}

TEST(StatusView, DoesNotLetADaemonDriveTheTerminal) {
  MachineStatus status = Two();
  status.pools[0].jobs[0].program = "\x1b[2J\n/bin/x";
  const std::string table = RenderTable(status);
  EXPECT_EQ(table.find('\x1b'), std::string::npos);
  EXPECT_NE(table.find("?[2J?/bin/x"), std::string::npos) << table;
}

TEST(StatusView, SaysWhatToDoWhenAClusterIsEmpty) {
  MachineStatus status = Two();
  status.pools.clear();
  status.clusters[0].pools.clear();
  EXPECT_NE(RenderTable(status).find("sheaf pool start --scheduler unix:/run/s.sock"), std::string::npos);
}

TEST(StatusView, WritesNumbersForPeople) {
  EXPECT_EQ(HumanBytes(0), "0 B");
  EXPECT_EQ(HumanBytes(1023), "1023 B");
  EXPECT_EQ(HumanBytes(1536), "1.5 KiB");
  EXPECT_EQ(HumanBytes((std::uint64_t{1} << 20) - 1), "1 MiB");
  EXPECT_EQ(HumanBytes(~std::uint64_t{0}), "16 EiB");
  EXPECT_EQ(HumanDuration(59'999), "59 s");
  EXPECT_EQ(HumanDuration(12'000'000), "3 h 20 min");
  EXPECT_EQ(HumanDuration(std::uint64_t{50} * 3600 * 1000), "2 d 2 h");
}

}  // namespace
}  // namespace sheaf::cli
