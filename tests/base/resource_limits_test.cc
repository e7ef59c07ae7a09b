// Soft limits on their way from one process to another.
#include "base/resource_limits.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace sheaf {
namespace {

TEST(SoftLimits, AreTheSameAfterTheyHaveTravelled) {
  const std::vector<SoftLimit> limits = OwnSoftLimits();
  EXPECT_GE(limits.size(), 10u);
  EXPECT_EQ(ParseSoftLimits(TextOfSoftLimits(limits)), limits);
  const std::vector<SoftLimit> ends{{RLIMIT_CORE, 0}, {RLIMIT_AS, ~std::uint64_t{0}}};
  EXPECT_EQ(ParseSoftLimits(TextOfSoftLimits(ends)), ends);
  EXPECT_EQ(ParseSoftLimits(""), std::vector<SoftLimit>{});
}

TEST(SoftLimits, OfATextThatMakesNoSenseAreNone) {
  for (const char* text : {"7", "7:", ":7", "7:1,", ",7:1", "7:1 ", "7:1;4:1", "-1:7", "7:-1", "7:18446744073709551616",
                           "7:1,7:2", "16:1", "4294967296:1", "x"})
    EXPECT_FALSE(ParseSoftLimits(text)) << text;
}

// In a child: this process wants to keep its own.
int AppliedTo(const std::vector<SoftLimit>& limits, int resource, rlim_t expected) {
  const pid_t child = fork();
  if (child == 0) {
    rlimit before{}, after{};
    getrlimit(static_cast<__rlimit_resource>(resource), &before);
    if (ApplySoftLimits(limits) != 0) _exit(2);
    getrlimit(static_cast<__rlimit_resource>(resource), &after);
    _exit(after.rlim_cur == expected && after.rlim_max == before.rlim_max ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(SoftLimits, AreGivenToAProcessAsFarAsItsHardLimitsAllow) {
  rlimit files{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &files), 0);
  EXPECT_EQ(AppliedTo({{RLIMIT_NOFILE, 77}}, RLIMIT_NOFILE, 77), 0);
  EXPECT_EQ(AppliedTo({{RLIMIT_NOFILE, ~std::uint64_t{0}}}, RLIMIT_NOFILE, files.rlim_max), 0);
  EXPECT_EQ(AppliedTo({{RLIMIT_CORE, 0}, {RLIMIT_CPU, 5000}}, RLIMIT_CORE, 0), 0);
  EXPECT_EQ(AppliedTo(OwnSoftLimits(), RLIMIT_NOFILE, files.rlim_cur), 0);
}

}  // namespace
}  // namespace sheaf
