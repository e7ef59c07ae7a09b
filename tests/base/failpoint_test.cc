// What SHEAF_FP arms, and when it strikes.
#include "base/failpoint.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>

#include <algorithm>
#include <chrono>

namespace sheaf {
namespace {

// A failpoint lives as long as the program, as those that the macro makes do.
Failpoint& Make(const char* name, const char* armed) {
  setenv("SHEAF_FP", armed, 1);
  auto* point = new Failpoint(name);
  unsetenv("SHEAF_FP");
  return *point;
}

TEST(Failpoint, DoesNothingUnlessItsNameIsArmed) {
  EXPECT_EQ(Make("a", "").Pass(), 0);
  EXPECT_EQ(Make("a", "ab=error;b=error").Pass(), 0);
  EXPECT_EQ(Make("a", "a=unknown").Pass(), 0);
  EXPECT_EQ(Make("a", ";;=;a").Pass(), 0);
}

TEST(Failpoint, FailsWithTheErrnoThatIsNamed) {
  EXPECT_EQ(Make("a", "b=kill;a=error").Pass(), EIO);
  EXPECT_EQ(Make("a", "a=error(28);b=kill").Pass(), ENOSPC);
}

TEST(Failpoint, StrikesAtEveryPassOrAtTheOneThatIsNamed) {
  Failpoint& every = Make("a", "a=error");
  EXPECT_NE(every.Pass(), 0);
  EXPECT_NE(every.Pass(), 0);
  Failpoint& third = Make("a", "a=error@3");
  EXPECT_EQ(third.Pass(), 0);
  EXPECT_EQ(third.Pass(), 0);
  EXPECT_NE(third.Pass(), 0);
  EXPECT_EQ(third.Pass(), 0);
}

TEST(Failpoint, Kills) {
  Failpoint& point = Make("a", "a=kill@2");
  EXPECT_EXIT((point.Pass(), point.Pass()), ::testing::KilledBySignal(SIGKILL), "");
}

TEST(Failpoint, Stalls) {
  Failpoint& point = Make("a", "a=sleep(20ms)");
  const auto before = std::chrono::steady_clock::now();
  EXPECT_EQ(point.Pass(), 0);
  EXPECT_GE(std::chrono::steady_clock::now() - before, std::chrono::milliseconds(20));
}

TEST(Failpoint, IsListed) {
  Make("test.listed", "");
  const auto names = ListFailpoints();
  EXPECT_NE(std::find(names.begin(), names.end(), "test.listed"), names.end());
}

}  // namespace
}  // namespace sheaf
