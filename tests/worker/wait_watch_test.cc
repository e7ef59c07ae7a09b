#include "worker/wait_watch.h"

#include <gtest/gtest.h>

namespace sheaf {
namespace {

using Say = WaitWatch::Say;
constexpr std::int64_t kSecond = 1'000'000'000;

TEST(WaitWatch, SaysOnceThatItWaitsAndOnceThatItGoesOn) {
  WaitWatch watch;
  EXPECT_EQ(watch.OnState(true, false, 0), Say::kNothing);
  EXPECT_EQ(watch.OnState(true, false, WaitWatch::kPatience - 1), Say::kNothing);
  EXPECT_EQ(watch.OnState(true, false, WaitWatch::kPatience), Say::kWaits);
  EXPECT_EQ(watch.OnState(true, false, 100 * kSecond), Say::kNothing);
  EXPECT_EQ(watch.OnState(false, true, 101 * kSecond), Say::kGoesOn);
  EXPECT_EQ(watch.OnState(false, true, 102 * kSecond), Say::kNothing);
}

TEST(WaitWatch, IsSilentAboutShortWaits) {
  WaitWatch watch;
  for (int turn = 0; turn < 10; ++turn) {
    EXPECT_EQ(watch.OnState(true, false, turn * 3 * kSecond), Say::kNothing);
    EXPECT_EQ(watch.OnState(true, false, turn * 3 * kSecond + 2 * kSecond), Say::kNothing);
    EXPECT_EQ(watch.OnState(false, true, turn * 3 * kSecond + 2 * kSecond), Say::kNothing);
  }
}

TEST(WaitWatch, DoesNotClaimThatWhatGaveUpGoesOn) {
  WaitWatch watch;
  watch.OnState(true, false, 0);
  ASSERT_EQ(watch.OnState(true, false, 3 * kSecond), Say::kWaits);
  EXPECT_EQ(watch.OnState(false, false, 4 * kSecond), Say::kNothing);
  EXPECT_EQ(watch.OnState(false, true, 5 * kSecond), Say::kNothing);
}

TEST(WaitWatch, SpeaksAgainOfTheNextWait) {
  WaitWatch watch;
  watch.OnState(true, false, 0);
  ASSERT_EQ(watch.OnState(true, false, 3 * kSecond), Say::kWaits);
  ASSERT_EQ(watch.OnState(false, true, 4 * kSecond), Say::kGoesOn);
  EXPECT_EQ(watch.OnState(true, true, 5 * kSecond), Say::kNothing);
  EXPECT_EQ(watch.OnState(true, true, 8 * kSecond), Say::kWaits) << "others of its tasks run";
}

}  // namespace
}  // namespace sheaf
