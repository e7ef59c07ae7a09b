// A pool's core, and clients that attach, die and acknowledge.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <variant>
#include <vector>

#include "worker/pool_core.h"

namespace sheaf::testing {

inline constexpr std::uint64_t kBuild[4] = {1, 2, 3, 4};
inline constexpr std::uint64_t kMiB = 1024 * 1024;

template <typename T>
std::vector<T> All(const PoolCore::Actions& actions) {
  std::vector<T> found;
  for (const auto& action : actions) {
    if (const T* one = std::get_if<T>(&action)) found.push_back(*one);
  }
  return found;
}

class PoolCoreFixture : public ::testing::Test {
 protected:
  explicit PoolCoreFixture(std::uint32_t clients_max = 64) { Restart(clients_max, 256 * kMiB); }
  void TearDown() override { core_->Check(); }

  void Restart(std::uint32_t clients_max, std::uint64_t budget) {
    PoolCore::Config config;
    config.budget_bytes = budget;
    config.clients_max = clients_max;
    core_ = std::make_unique<PoolCore>(config);
  }
  ClientId Driver() {
    PoolCore::Actions actions;
    ClientId client = 0;
    EXPECT_TRUE(core_->AddDriver(kBuild, &client, &actions));
    EXPECT_TRUE(core_->Attached(client, &actions));
    return client;
  }
  ClientId Worker(ClientId job) {
    PoolCore::Actions actions;
    ClientId client = 0;
    EXPECT_TRUE(core_->AddWorker(job, kBuild, &client, &actions));
    EXPECT_TRUE(core_->Attached(client, &actions));
    return client;
  }
  PoolCore::Actions Die(ClientId client) {
    PoolCore::Actions actions;
    core_->Died(client, 9, &actions);
    core_->Check();
    return actions;
  }
  PoolCore::Actions Ack(ClientId client, ClientId dead) {
    PoolCore::Actions actions;
    EXPECT_TRUE(core_->Acknowledge(client, dead, &actions));
    core_->Check();
    return actions;
  }
  std::uint32_t Segment(ClientId owner, wire::SegmentKind kind, std::uint64_t bytes) {
    std::uint32_t segment = 0;
    PoolCore::Actions actions;
    EXPECT_TRUE(core_->MakeSegment(owner, kind, bytes, &segment));
    EXPECT_TRUE(core_->SegmentMade(owner, segment, true));
    EXPECT_TRUE(core_->SegmentMapped(owner, segment, &actions));
    return segment;
  }

  std::unique_ptr<PoolCore> core_;
};

}  // namespace sheaf::testing
