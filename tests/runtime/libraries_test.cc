// Which libraries a program brings to another machine, and how the list of them travels.
#include "runtime/libraries.h"

#include <gtest/gtest.h>

namespace sheaf::runtime {
namespace {

std::vector<std::string> Unpacked(const std::string& text, std::string* why = nullptr) {
  std::vector<std::string> paths;
  const std::string wrong = UnpackLibraries(text, &paths);
  if (why) *why = wrong;
  EXPECT_TRUE(why || wrong.empty()) << wrong;
  return paths;
}

TEST(Libraries, OfTheSystemStayWhereTheyAre) {
  for (const char* path : {"/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2", "/usr/lib/libz.so.1",
                           "/usr/lib64/libz.so.1", "/usr/lib32/libz.so.1"})
    EXPECT_TRUE(IsSystemLibrary(path)) << path;
  for (const char* path :
       {"/opt/a/lib/libz.so.1", "/usr/local/lib/libz.so.1", "/library/libz.so.1", "/home/lib/libz.so"})
    EXPECT_FALSE(IsSystemLibrary(path)) << path;
}

TEST(Libraries, OfThisTestAreTheSystemsOnly) {
  for (const std::string& path : MappedLibraries()) {
    EXPECT_TRUE(path.starts_with('/')) << path;
    EXPECT_FALSE(IsSystemLibrary(path)) << path;
    EXPECT_NE(path.rfind('/') + 1, path.size()) << "the executable is none";
  }
}

TEST(Libraries, AreTheSameAfterTheirListHasTravelled) {
  const std::vector<std::string> paths{"/opt/a/libone.so.1", "/opt/a/libtwo.so", "/opt/b/c/libthree.so",
                                       "/opt/a/lib four.so"};
  EXPECT_EQ(Unpacked(PackLibraries(paths)), paths);
  EXPECT_EQ(PackLibraries({}), "");
}

TEST(Libraries, ThatAreTooManyAreARefusalThatSaysSo) {
  std::vector<std::string> paths;
  for (std::size_t i = 0; i <= kLibrariesMax; ++i) paths.push_back("/opt/lib" + std::to_string(i) + ".so");
  std::string why;
  EXPECT_TRUE(Unpacked(PackLibraries(paths), &why).empty());
  EXPECT_NE(why.find("257 libraries"), std::string::npos) << why;
  paths.pop_back();
  EXPECT_EQ(Unpacked(PackLibraries(paths)), paths);
}

TEST(Libraries, WhoseListIsDamagedAreNotGuessed) {
  for (const char* text : {"libone.so\n", "/opt/\n\nlib.so\n", "/opt/\na/lib.so\n"}) {
    std::string why;
    Unpacked(text, &why);
    EXPECT_NE(why, "") << text;
  }
}

}  // namespace
}  // namespace sheaf::runtime
