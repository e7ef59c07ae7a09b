// Membership of a cluster, simulated: a thousand seeds, the same digest everywhere, planted bugs found.

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdio>

#include "tests/scheduler/membership_world.h"

namespace sheaf::membership {
namespace {

TEST(MembershipSimulation, HoldsForAThousandSeeds) {
  Outcome total;
  std::uint64_t digest = 0;
  for (std::uint64_t seed = 1; seed <= 1000; ++seed) {
    const Outcome out = World(seed, Planted::kNothing).Run();
    ASSERT_TRUE(out.faults.empty()) << "seed " << seed << ": " << out.faults.front();
    digest = digest * 31 + out.digest;
    total.registrations += out.registrations;
    total.restarts += out.restarts;
    total.leftovers += out.leftovers;
  }
  // The accidents did happen.
  EXPECT_GT(total.registrations, 10000);
  EXPECT_GT(total.restarts, 1000);
  EXPECT_GT(total.leftovers, 1000);
  std::printf("digest of 1000 seeds: %016llx\n", static_cast<unsigned long long>(digest));
}

TEST(MembershipSimulation, IsTheSameTwiceForTheSameSeed) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    EXPECT_EQ(World(seed, Planted::kNothing).Run().digest, World(seed, Planted::kNothing).Run().digest)
        << "seed " << seed;
  }
  EXPECT_NE(World(1, Planted::kNothing).Run().digest, World(2, Planted::kNothing).Run().digest);
}

// The digest of the first seeds, equal for every compiler: nothing may depend on hash order or addresses.
TEST(MembershipSimulation, HasTheDigestThatIsWrittenDown) {
  std::uint64_t digest = 0;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    digest = digest * 31 + World(seed, Planted::kNothing).Run().digest;
  }
  EXPECT_EQ(digest, 0x109d834011a086b1u);
}

TEST(MembershipSimulation, FindsEachPlantedBug) {
  for (const Planted bug : {Planted::kAcknowledgesBeforeStoring, Planted::kForgetsTheEpoch}) {
    bool found = false;
    for (std::uint64_t seed = 1; seed <= 1000 && !found; ++seed) {
      found = !World(seed, bug).Run().faults.empty();
    }
    EXPECT_TRUE(found) << "bug " << static_cast<int>(bug);
  }
}

}  // namespace
}  // namespace sheaf::membership
