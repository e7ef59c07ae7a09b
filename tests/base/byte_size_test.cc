#include "base/byte_size.h"

#include <gtest/gtest.h>

namespace sheaf {
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

TEST(ByteSize, IsWrittenInTheLargestUnitThatFits) {
  EXPECT_EQ(FormatByteSize(0), "0B");
  EXPECT_EQ(FormatByteSize(1023), "1023B");
  EXPECT_EQ(FormatByteSize(1024), "1KiB");
  EXPECT_EQ(FormatByteSize(1536), "1.5KiB");
  EXPECT_EQ(FormatByteSize(std::uint64_t{4} << 30), "4GiB");
  EXPECT_EQ(FormatByteSize((std::uint64_t{1} << 40) - 1), "1023.9GiB");
  EXPECT_EQ(FormatByteSize(~std::uint64_t{0}), "15.9EiB");
}

TEST(ByteSize, OfAStoreIsAtLeastWhatWorkersDoWith) {
  std::uint64_t bytes = 7;
  EXPECT_NE(ParseStoreSize("abc", &bytes).find("'abc' is not a size"), std::string::npos);
  EXPECT_NE(ParseStoreSize("8", &bytes).find("without a unit a number is bytes"), std::string::npos);
  EXPECT_NE(ParseStoreSize("67108863", &bytes), "");
  EXPECT_EQ(bytes, 7u);
  EXPECT_EQ(ParseStoreSize("64MiB", &bytes), "");
  EXPECT_EQ(bytes, 64u << 20);
}

}  // namespace
}  // namespace sheaf
