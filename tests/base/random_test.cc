#include "base/random.h"

#include <gtest/gtest.h>

#include <array>

namespace sheaf {
namespace {

TEST(Random, GivesTheSameNumbersEverywhere) {
  Random random(1234567);
  // The reference sequence of the algorithm for this seed.
  EXPECT_EQ(random.Next(), 6457827717110365317u);
  EXPECT_EQ(random.Next(), 3203168211198807973u);
  EXPECT_EQ(random.Next(), 9817491932198370423u);
}

TEST(Random, StaysInsideItsBounds) {
  Random random(1);
  std::array<int, 7> seen{};
  for (int i = 0; i < 7000; ++i) ++seen[random.Below(7)];
  for (const int count : seen) EXPECT_NEAR(count, 1000, 150);
  for (int i = 0; i < 100; ++i) {
    const std::int64_t value = random.Between(-3, 3);
    EXPECT_GE(value, -3);
    EXPECT_LE(value, 3);
  }
}

TEST(Digest, DependsOnTheOrder) {
  Digest a, b;
  a.Feed(1);
  a.Feed(2);
  b.Feed(2);
  b.Feed(1);
  EXPECT_NE(a.value(), b.value());
}

}  // namespace
}  // namespace sheaf
