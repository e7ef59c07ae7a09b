// Needs are exact, written in one way, and read from anybody's text without surprises.
#include "base/needs.h"

#include <gtest/gtest.h>

namespace sheaf {
namespace {

Needs Parsed(const std::string& text) {
  Needs needs;
  EXPECT_EQ(ParseNeeds(text, &needs), "") << text;
  return needs;
}

std::string Fault(const std::string& text) {
  Needs needs{{{"kept", 1}}, {}};
  const std::string why = ParseNeeds(text, &needs);
  EXPECT_EQ(needs.resources.count("kept"), 1u) << "changed although it was refused: " << text;
  return why;
}

TEST(Needs, AreReadAndWrittenExactly) {
  const Needs needs = Parsed("gpu=2,disk=0.05,zone:a,net=1000000000");
  EXPECT_EQ(needs.resources, (std::map<std::string, std::uint64_t>{{"disk", 50}, {"gpu", 2000}, {"net", kAmountMax}}));
  EXPECT_EQ(needs.labels, std::set<std::string>{"zone=a"});
  EXPECT_EQ(FormatNeeds(needs), "disk=0.05,gpu=2,net=1000000000,zone:a");
  EXPECT_EQ(Parsed(FormatNeeds(needs)), needs);
  EXPECT_TRUE(Parsed("").empty());
}

TEST(Needs, SayWhatIsWrongWithAText) {
  for (const char* text :
       {"gpu", "gpu=", "gpu=0", "gpu=-1", "gpu=1.", "gpu=1.0005", "gpu=1e3", "gpu=1000000001", "=1", "gpu=99999999999",
        "zone:", ":a", "gpu=1,", ",gpu=1", "g pu=1", "gpu=1,gpu=1", "zone:a b", "gpu=0x1", "gpu= 1"})
    EXPECT_NE(Fault(text), "") << text;
  std::string many;
  for (std::size_t i = 0; i <= kNeedsMax; ++i) many += (i ? ",r" : "r") + std::to_string(i) + "=1";
  EXPECT_NE(Fault(many), "");
  EXPECT_NE(Fault(std::string(kNeedsTextMax + 1, 'a')), "");
}

TEST(Needs, AreSatisfiedByAsMuchAndByEveryLabel) {
  const Needs machine = Parsed("gpu=2,zone:a,zone:b");
  EXPECT_TRUE(Satisfies(machine, {}));
  EXPECT_TRUE(Satisfies(machine, Parsed("gpu=2,zone:b")));
  EXPECT_FALSE(Satisfies(machine, Parsed("gpu=2.001")));
  EXPECT_FALSE(Satisfies(machine, Parsed("zone:c")));
  EXPECT_FALSE(Satisfies(machine, Parsed("tpu=0.001")));
}

TEST(Needs, WriteAmountsExactly) {
  EXPECT_EQ(FormatAmount(0), "0");
  EXPECT_EQ(FormatAmount(2000), "2");
  EXPECT_EQ(FormatAmount(1500), "1.5");
  EXPECT_EQ(FormatAmount(1), "0.001");
}

}  // namespace
}  // namespace sheaf
