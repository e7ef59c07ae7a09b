// A pool's core with relays, for the tests of segments whose bytes lie on another machine (docs/decisions/0012).
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "worker/pool_core.h"

namespace sheaf::testing {

using wire::Refusal;
using wire::SegmentKind;
using State = PoolCore::AwaySegment::State;

inline constexpr std::uint64_t kBuild[4] = {1, 2, 3, 4};
inline constexpr std::uint64_t kMiB = 1024 * 1024;
inline constexpr std::uint64_t kBytes = 5 * kMiB + 1;  // no multiple of a page
inline constexpr std::uint32_t kFirst = limits::kAwayFirst;

template <typename T>
std::vector<T> All(const PoolCore::Actions& actions) {
  std::vector<T> found;
  for (const auto& action : actions) {
    if (const T* one = std::get_if<T>(&action)) found.push_back(*one);
  }
  return found;
}

inline wire::AwayEntry Entry(std::uint32_t segment, std::uint64_t bytes = kBytes) {
  wire::AwayEntry entry{segment, 0, bytes, {}};
  entry.offer[0] = static_cast<std::uint8_t>(segment);
  return entry;
}

class PoolCoreAwayTest : public ::testing::Test {
 protected:
  PoolCoreAwayTest() { Restart(64, 256 * kMiB); }
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
  ClientId Relay(ClientId job, const std::vector<std::uint32_t>& away = {}) {
    PoolCore::Actions actions;
    ClientId client = 0;
    EXPECT_TRUE(core_->AddRelay(job, &client, &actions));
    EXPECT_TRUE(core_->Attached(client, &actions));
    for (const std::uint32_t segment : away) EXPECT_TRUE(core_->AddAway(client, {Entry(segment)}));
    return client;
  }
  PoolCore::Actions Open(ClientId reader, ClientId owner, std::uint32_t segment, bool now = false) {
    PoolCore::Actions actions;
    core_->OpenAway(reader, {owner, segment}, now, ++request_, &actions);
    core_->Check();
    return actions;
  }
  PoolCore::Actions Read(ClientId reader, ClientId owner, std::uint32_t segment) {
    return Open(reader, owner, segment, false);
  }
  PoolCore::Actions Now(ClientId reader, ClientId owner, std::uint32_t segment) {
    return Open(reader, owner, segment, true);
  }
  void Fill(ClientId owner, std::uint32_t segment) {
    EXPECT_TRUE(core_->FillAway(owner, segment, SegmentKind::kLarge, kBytes));
    EXPECT_TRUE(core_->SegmentMade(owner, segment, true));
    core_->Check();
  }
  PoolCore::Actions Bring(ClientId owner, std::uint32_t segment) {
    Fill(owner, segment);
    PoolCore::Actions actions;
    EXPECT_TRUE(core_->SegmentMapped(owner, segment, &actions));
    core_->Check();
    return actions;
  }
  std::uint32_t Ordinary(ClientId owner) {
    std::uint32_t segment = 0;
    PoolCore::Actions actions;
    EXPECT_TRUE(core_->MakeSegment(owner, SegmentKind::kLarge, kMiB, &segment));
    EXPECT_TRUE(core_->SegmentMade(owner, segment, true));
    EXPECT_TRUE(core_->SegmentMapped(owner, segment, &actions));
    return segment;
  }
  PoolCore::Actions NotFetched(ClientId owner, std::uint32_t segment) {
    PoolCore::Actions actions;
    EXPECT_TRUE(core_->NotFetched(owner, segment, Refusal::kOutOfMemory, "no room", &actions));
    core_->Check();
    return actions;
  }
  PoolCore::Actions Drop(ClientId owner, std::uint32_t segment) {
    PoolCore::Actions actions;
    EXPECT_TRUE(core_->DropSegment(owner, segment, &actions));
    core_->Check();
    return actions;
  }
  PoolCore::Actions Die(ClientId client) {
    PoolCore::Actions actions;
    core_->Died(client, 9, &actions);
    core_->Check();
    return actions;
  }
  PoolCore::Actions Told(ClientId client, ClientId dead) {
    PoolCore::Actions actions;
    EXPECT_TRUE(core_->HeirsTold(client, dead, &actions));
    core_->Check();
    return actions;
  }
  PoolCore::Actions Ack(ClientId client, ClientId dead) {
    PoolCore::Actions actions;
    EXPECT_TRUE(core_->Acknowledge(client, dead, &actions));
    core_->Check();
    return actions;
  }
  PoolCore::Actions Remade(ClientId client, SegmentPlace lost, SegmentPlace to, const std::string& text = "") {
    PoolCore::Actions actions;
    core_->Remade(client, lost, to, text, &actions);
    core_->Check();
    return actions;
  }
  State StateOf(ClientId owner, std::uint32_t segment) const { return core_->Find(owner)->away.at(segment).state; }

  std::unique_ptr<PoolCore> core_;
  std::uint64_t request_ = 100;
};

}  // namespace sheaf::testing
