// How long a relay's names live.
#include "worker/relay/names.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace sheaf::relay {
namespace {

constexpr std::int64_t kMs = 1'000'000;

detail::ObjectId Object(std::uint32_t slot, std::uint32_t generation = 1) { return {3, slot, generation}; }

TEST(Names, ForgetsWhatNobodySpeaksOfWhileNewOnesKeepComing) {
  Names names(true);
  const Names::Name first = names.BindNext(Object(0), {}, 0), used = names.BindNext(Object(1), {}, 0);
  names.Settle(first, 100);
  names.Settle(used, 100);
  std::vector<Names::Name> over;
  for (std::uint32_t i = 2; i < 500; ++i) {
    const std::int64_t now = i * 20 * kMs;
    names.Settle(names.BindNext(Object(i), {}, now), 100);
    EXPECT_EQ(names.Find(Object(1), now), used);
    for (const Names::Name name : names.Forget(now, 100)) over.push_back(name);
  }
  EXPECT_EQ(std::count(over.begin(), over.end(), first), 1);
  EXPECT_EQ(std::count(over.begin(), over.end(), used), 0);
  EXPECT_EQ(names.Find(Object(0), 0), 0u);
}

TEST(Names, KeepsAResultForAMomentOnlyUnlessItIsSpokenOf) {
  Names names(true);
  const Names::Name unspoken = names.BindNext(Object(0), {}, 0, true), spoken = names.BindNext(Object(1), {}, 0, true);
  names.Settle(unspoken, 100);
  names.Settle(spoken, 100);
  EXPECT_EQ(names.Find(Object(1), 1), spoken);
  EXPECT_EQ(names.Forget(1000 * kMs, 100), std::vector<Names::Name>{unspoken});
}

TEST(Names, KeepsWhatTheOtherHalfHasYetToReceive) {
  Names names(true);
  names.BindNext(Object(0), {}, 0);
  EXPECT_TRUE(names.Forget(1'000'000 * kMs, 100).empty());
}

TEST(Names, FindsTheYoungestObjectOfASlot) {
  Names names(true);
  const Names::Name old = names.BindNext(Object(7, 1), {}, 0), young = names.BindNext(Object(7, 2), {}, 0);
  EXPECT_EQ(names.Find(Object(7, 2), 0), young);
  EXPECT_EQ(names.Find(Object(7, 1), 0), 0u);
  names.Erase(old);
  EXPECT_EQ(names.Find(Object(7, 2), 0), young);
}

}  // namespace
}  // namespace sheaf::relay
