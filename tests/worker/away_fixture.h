// A pool's core with relays, for the tests of segments whose bytes lie on another machine (docs/decisions/0012).
#pragma once

#include <string>
#include <vector>

#include "tests/worker/pool_core_fixture.h"

namespace sheaf::testing {

using wire::Refusal;
using wire::SegmentKind;
using State = PoolCore::AwaySegment::State;

inline constexpr std::uint64_t kBytes = 5 * kMiB + 1;  // no multiple of a page
inline constexpr std::uint32_t kFirst = limits::kAwayFirst;

inline wire::AwayEntry Entry(std::uint32_t segment, std::uint64_t bytes = kBytes) {
  wire::AwayEntry entry{segment, 0, bytes, {}};
  entry.offer[0] = static_cast<std::uint8_t>(segment);
  return entry;
}

class PoolCoreAwayTest : public PoolCoreFixture {
 protected:
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
  std::uint32_t Ordinary(ClientId owner) { return Segment(owner, SegmentKind::kLarge, kMiB); }
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
  PoolCore::Actions Told(ClientId client, ClientId dead) {
    PoolCore::Actions actions;
    EXPECT_TRUE(core_->HeirsTold(client, dead, &actions));
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

  std::uint64_t request_ = 100;
};

}  // namespace sheaf::testing
