// The list of what travels with a program: what the near half finds, and what the far half believes of it.
#include "worker/relay/parts.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "runtime/libraries.h"
#include "runtime/working_files.h"

namespace sheaf::relay {
namespace {

TravelPart Library(const std::string& name, std::uint64_t bytes = 10) {
  return {PartKind::kLibrary, name, Hash{1, 2, 3}, bytes, ""};
}
TravelPart File(const std::string& name, std::uint64_t bytes = 10) {
  return {PartKind::kFile, name, Hash{4, 5, 6}, bytes, ""};
}
std::string WrongWith(const std::vector<TravelPart>& parts) {
  std::vector<TravelPart> read;
  return UnpackParts(PackParts(parts), &read);
}

class PartsTest : public ::testing::Test {
 protected:
  PartsTest() {
    char name[] = "/tmp/sheaf-parts-test-XXXXXX";
    directory_ = mkdtemp(name);
  }
  ~PartsTest() override { std::filesystem::remove_all(directory_); }
  std::string Write(const std::string& name, const std::string& text) const {
    const std::string path = directory_ + "/" + name;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::ofstream(path) << text;
    return path;
  }
  std::string directory_;
};

TEST(Parts, AreTheSameAfterTheirListHasTravelled) {
  const std::vector<TravelPart> parts{Library("libone.so.1", 1), Library("lib two.so", 5)};
  std::vector<TravelPart> read;
  ASSERT_EQ(UnpackParts(PackParts(parts), &read), "");
  ASSERT_EQ(read.size(), 2u);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(read[i].name, parts[i].name);
    EXPECT_EQ(read[i].hash, parts[i].hash);
    EXPECT_EQ(read[i].bytes, parts[i].bytes);
  }
}

TEST(Parts, OfAHostilePeerDoNotLeaveTheirDirectory) {
  for (const std::string& name :
       {std::string("../libc.so"), std::string("/etc/passwd"), std::string("a/b"), std::string(".."), std::string("."),
        std::string(), std::string("a\0b", 3), std::string("a\nb"), std::string(256, 'x')})
    EXPECT_NE(WrongWith({Library(name)}), "") << name;
  EXPECT_EQ(WrongWith({Library(std::string(255, 'x'))}), "");
}

TEST(Parts, OfOneNameAreRefused) { EXPECT_NE(WrongWith({Library("a"), Library("a")}), ""); }

TEST(Parts, HaveBoundsInNumberAndSize) {
  std::vector<TravelPart> many;
  for (std::size_t i = 0; i < runtime::kLibrariesMax; ++i) many.push_back(Library("lib" + std::to_string(i)));
  EXPECT_EQ(WrongWith(many), "");
  many.push_back(Library("one too many"));
  EXPECT_NE(WrongWith(many), "");
  EXPECT_NE(WrongWith({Library("a", 0)}), "");
  EXPECT_NE(WrongWith({Library("a", ~std::uint64_t{0})}), "");
  EXPECT_EQ(WrongWith({Library("a", kLibrariesBytesMax - 1), Library("b", 1)}), "");
  EXPECT_NE(WrongWith({Library("a", kLibrariesBytesMax), Library("b", 1)}), "");
}

TEST(Parts, ThatAreFilesStayBelowTheWorkingDirectory) {
  EXPECT_EQ(WrongWith({File("a"), File("data/deep/a"), Library("a")}), "");
  for (const std::string& name :
       {std::string("/a"), std::string("a/../../b"), std::string(".."), std::string("./a"), std::string("a//b"),
        std::string("a/"), std::string(), std::string("a\0b", 3), "a/" + std::string(256, 'x')})
    EXPECT_NE(WrongWith({File(name)}), "") << name;
  TravelPart again = File("a");
  again.kind = PartKind::kExecutableFile;
  EXPECT_NE(WrongWith({File("a"), again}), "");
}

TEST(Parts, ThatAreFilesHaveBoundsInNumberAndSize) {
  std::vector<TravelPart> many;
  for (std::size_t i = 0; i < runtime::kFilesMax; ++i) many.push_back(File("file" + std::to_string(i), 0));
  EXPECT_EQ(WrongWith(many), "");
  EXPECT_LE(PackParts(many).size(), kPartsBytesMax);
  many.push_back(File("one too many"));
  EXPECT_NE(WrongWith(many), "");
  EXPECT_EQ(WrongWith({File("a", runtime::kFilesBytesMax)}), "");
  EXPECT_NE(WrongWith({File("a", runtime::kFilesBytesMax), File("b", 1)}), "");
  EXPECT_NE(WrongWith({File("a", 1), File("b", ~std::uint64_t{0})}), "");
}

TEST(Parts, OfNoKnownKindAreRefused) {
  TravelPart part = Library("a");
  part.kind = static_cast<PartKind>(77);
  EXPECT_NE(WrongWith({part}), "");
}

TEST(Parts, WhoseListEndsAnywhereElseAreRefused) {
  const std::string whole = PackParts({Library("libone.so"), Library("libtwo.so")});
  const std::size_t first = PackParts({Library("libone.so")}).size();
  for (std::size_t size = 1; size < whole.size(); ++size) {
    std::vector<TravelPart> read;
    EXPECT_EQ(UnpackParts(whole.substr(0, size), &read).empty(), size == first) << size;
  }
}

TEST(Limits, OfAHostilePeerAreCheckedBeforeTheyAreUsed) {
  const std::vector<SoftLimit> limits{{0, 5}, {7, ~std::uint64_t{0}}};
  std::vector<SoftLimit> read;
  EXPECT_EQ(UnpackLimits(PackLimits(limits), &read), "");
  EXPECT_EQ(read, limits);
  EXPECT_LE(PackLimits(OwnSoftLimits()).size(), kLimitsMax * sizeof(Limit));
  for (const std::vector<SoftLimit>& wrong : {std::vector<SoftLimit>{{16, 1}}, {{~0u, 1}}, {{7, 1}, {7, 2}}}) {
    read.clear();
    EXPECT_NE(UnpackLimits(PackLimits(wrong), &read), "");
  }
  read.clear();
  EXPECT_NE(UnpackLimits(PackLimits(limits).substr(1), &read), "");
}

TEST_F(PartsTest, AreFoundWhereTheDriverMappedThem) {
  const std::string one = Write("a/libone.so", "one"), two = Write("b/libtwo.so", "two!"),
                    hidden = Write("b/libone.so", "x");
  std::vector<TravelPart> parts;
  ASSERT_EQ(FindLibraries(runtime::PackLibraries({one, two, hidden}), "", &parts), "");
  ASSERT_EQ(parts.size(), 2u) << "of two with one name the first is found";
  EXPECT_EQ(parts[0].name, "libone.so");
  EXPECT_EQ(parts[0].path, one);
  EXPECT_EQ(parts[0].bytes, 3u);
  EXPECT_EQ(parts[1].bytes, 4u);
  EXPECT_NE(parts[0].hash, parts[1].hash);
}

TEST_F(PartsTest, ThatAreGoneAreNamed) {
  std::vector<TravelPart> parts;
  const std::string why = FindLibraries(runtime::PackLibraries({directory_ + "/libgone.so"}), "", &parts);
  EXPECT_NE(why.find("libgone.so"), std::string::npos) << why;
}

}  // namespace
}  // namespace sheaf::relay
