// The cluster simulated: thousands of seeds, the same digest everywhere, planted bugs found. SHEAF_SEEDS sets how many.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

#include "tests/scheduler/cluster_world.h"

namespace sheaf::cluster {
namespace {

std::uint64_t Seeds() {
  const char* given = std::getenv("SHEAF_SEEDS");
  return given ? std::strtoull(given, nullptr, 10) : 2000;
}

TEST(ClusterSimulation, HoldsForEverySeed) {
  std::set<std::string> accidents;
  std::uint64_t digest = 0, tasks = 0, reruns = 0;
  for (std::uint64_t seed = 1; seed <= Seeds(); ++seed) {
    const Outcome out = World(seed, Bug::kNone).Run();
    ASSERT_TRUE(out.faults.empty()) << "seed " << seed << ": " << out.faults.front();
    accidents.insert(out.accidents.begin(), out.accidents.end());
    digest = digest * 31 + out.digest;
    tasks += out.tasks;
    reruns += out.reruns;
  }
  EXPECT_GE(accidents.size(), 27u) << "kinds of accidents that did happen";
  for (const char* what : {"restart with grants in force", "relay parked", "parked relay renewed", "credit taken",
                           "credit granted", "credit refused", "credit begun in vain"})
    EXPECT_TRUE(accidents.contains(what)) << what;
  EXPECT_GT(reruns, Seeds());
  std::printf("%llu seeds: %llu tasks, %llu run again, digest %016llx\n", static_cast<unsigned long long>(Seeds()),
              static_cast<unsigned long long>(tasks), static_cast<unsigned long long>(reruns),
              static_cast<unsigned long long>(digest));
}

TEST(ClusterSimulation, IsTheSameTwiceForTheSameSeed) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed)
    EXPECT_EQ(World(seed, Bug::kNone).Run().digest, World(seed, Bug::kNone).Run().digest) << "seed " << seed;
}

// Equal for every compiler and library: nothing depends on hash order or addresses.
TEST(ClusterSimulation, HasTheDigestThatIsWrittenDown) {
  std::uint64_t digest = 0;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) digest = digest * 31 + World(seed, Bug::kNone).Run().digest;
  EXPECT_EQ(digest, 0x6cae72e6c62215c3u);
}

TEST(ClusterSimulation, FindsEachPlantedBugWithinTwoThousandSeeds) {
  for (int bug = 1; bug <= static_cast<int>(Bug::kKeepsUnconfirmed); ++bug) {
    std::uint64_t seed = 1;
    while (seed <= 2000 && World(seed, static_cast<Bug>(bug)).Run().faults.empty()) ++seed;
    EXPECT_LE(seed, 2000u) << "bug " << bug;
    std::printf("bug %d: seed %llu\n", bug, static_cast<unsigned long long>(seed));
  }
}

}  // namespace
}  // namespace sheaf::cluster
