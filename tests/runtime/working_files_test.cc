// Which files a declaration means, and what is wrong with it.
#include "runtime/working_files.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

namespace sheaf::runtime {
namespace {

namespace fs = std::filesystem;

class WorkingFilesTest : public ::testing::Test {
 protected:
  WorkingFilesTest() {
    char name[] = "/tmp/sheaf-working-files-test-XXXXXX";
    before_ = fs::current_path();
    fs::current_path(mkdtemp(name));
  }
  ~WorkingFilesTest() override {
    const fs::path own = fs::current_path();
    fs::current_path(before_);
    fs::remove_all(own);
  }
  static void Write(const fs::path& path, const std::string& text = "text") {
    if (path.has_parent_path()) fs::create_directories(path.parent_path());
    std::ofstream(path) << text;
  }
  static std::vector<std::string> Names(const std::string& declared) {
    std::vector<WorkingFile> files;
    EXPECT_EQ(ListWorkingFiles(declared, &files), "") << declared;
    std::vector<std::string> names;
    for (const WorkingFile& file : files) names.push_back(file.name);
    return names;
  }
  static std::string WrongWith(const std::string& declared) {
    std::vector<WorkingFile> files;
    return ListWorkingFiles(declared, &files);
  }
  using Texts = std::vector<std::string>;
  fs::path before_;
};

TEST_F(WorkingFilesTest, AreThoseThatAreNamedAndThoseBelowADirectory) {
  Write("one");
  Write("data/b");
  Write("data/deep/a");
  Write("other");
  EXPECT_EQ(Names("one:data/"), (Texts{"data/b", "data/deep/a", "one"}));
  EXPECT_EQ(Names("data"), (Texts{"data/b", "data/deep/a"}));
  EXPECT_EQ(Names("data/deep/a:data/:./data//b"), (Texts{"data/b", "data/deep/a"})) << "each once";
  EXPECT_EQ(Names("."), (Texts{"data/b", "data/deep/a", "one", "other"}));
  EXPECT_EQ(Names("one:"), Texts{"one"});
  EXPECT_EQ(Names(""), Texts{});
}

TEST_F(WorkingFilesTest, KeepTheirSizeAndWhetherTheyCanBeRun) {
  Write("run", "12345");
  Write("read", "");
  fs::permissions("run", fs::perms::owner_all);
  std::vector<WorkingFile> files;
  ASSERT_EQ(ListWorkingFiles("run:read", &files), "");
  EXPECT_EQ(files[0].bytes, 0u);
  EXPECT_FALSE(files[0].executable);
  EXPECT_EQ(files[1].bytes, 5u);
  EXPECT_TRUE(files[1].executable);
}

TEST_F(WorkingFilesTest, ThatAreNotThereOrElsewhereAreNamed) {
  Write("one");
  for (const char* declared : {"gone", "one:gone", "/etc/passwd", "../one", "a/../one", "one/"}) {
    const std::string name = std::string(declared).starts_with("one:") ? "gone" : declared;
    EXPECT_NE(WrongWith(declared).find("\"" + name + "\""), std::string::npos)
        << declared << ": " << WrongWith(declared);
  }
}

TEST_F(WorkingFilesTest, MayBeLinksToFilesButNoLinkLeadsToMoreThanWasDeclared) {
  Write("one", "12345");
  fs::create_directory("data");
  fs::create_symlink("../one", "data/link");
  EXPECT_EQ(Names("data"), Texts{"data/link"});
  fs::create_directory_symlink("..", "data/up");
  EXPECT_NE(WrongWith("data").find("data/up"), std::string::npos);
  fs::create_directory("much");
  Write("much/a");
  fs::create_directory_symlink("much", "declared");
  EXPECT_EQ(Names("declared"), Texts{"declared/a"});
}

TEST_F(WorkingFilesTest, AreFilesOnly) {
  ASSERT_EQ(mkfifo("pipe", 0600), 0);
  EXPECT_NE(WrongWith("."), "");
}

TEST_F(WorkingFilesTest, HaveBoundsInNumberAndSize) {
  for (std::size_t i = 0; i < kFilesMax; ++i) Write("many/" + std::to_string(i), "");
  EXPECT_EQ(Names("many").size(), kFilesMax);
  Write("one");
  EXPECT_NE(WrongWith("many:one").find("1024 files"), std::string::npos);
  Write("large", "");
  fs::resize_file("large", kFilesBytesMax);  // a hole
  EXPECT_EQ(Names("large"), Texts{"large"});
  EXPECT_NE(WrongWith("large:one").find("1 GiB"), std::string::npos);
  fs::resize_file("large", kFilesBytesMax + 1);
  EXPECT_NE(WrongWith("large"), "");
}

TEST(WorkingNames, MeanAFileBelowInOneWayOnly) {
  for (const char* name : {"a", "a/b", ".hidden", "a..b", "..."}) EXPECT_TRUE(IsWorkingName(name)) << name;
  for (const char* name : {"", "/", "/a", "a/", "a//b", ".", "..", "./a", "a/./b", "a/..", "../a"})
    EXPECT_FALSE(IsWorkingName(name)) << name;
  EXPECT_FALSE(IsWorkingName(std::string_view("a\0b", 3)));
  EXPECT_FALSE(IsWorkingName(std::string(256, 'x')));
  std::string deep = "a";
  while (deep.size() <= kFileNameMax) deep += "/a";
  EXPECT_FALSE(IsWorkingName(deep));
}

}  // namespace
}  // namespace sheaf::runtime
