#include "cli/byte_size.h"

#include <gtest/gtest.h>

namespace sheaf::cli {
namespace {

TEST(ByteSize, ReadsWhatPeopleWrite) {
  EXPECT_EQ(ParseByteSize("1048576"), 1048576u);
  EXPECT_EQ(ParseByteSize("512MiB"), 512u << 20);
  EXPECT_EQ(ParseByteSize("512 MiB"), 512u << 20);
  EXPECT_EQ(ParseByteSize("4G"), std::uint64_t{4} << 30);
  EXPECT_EQ(ParseByteSize("4GB"), std::uint64_t{4} << 30);
  EXPECT_EQ(ParseByteSize("7k"), 7u << 10);
  EXPECT_EQ(ParseByteSize("100B"), 100u);
  EXPECT_EQ(ParseByteSize("1T"), std::uint64_t{1} << 40);
}

TEST(ByteSize, RefusesTheRest) {
  for (const char* text : {"", "0", "-1", "4X", "GiB", "4iB", "4GiBB", "4 G B", "1.5G", "9999999999999T",
                           "18446744073709551616", "99999999999999999999"}) {
    EXPECT_FALSE(ParseByteSize(text).has_value()) << text;
  }
}

}  // namespace
}  // namespace sheaf::cli
