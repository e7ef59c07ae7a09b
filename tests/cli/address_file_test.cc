#include "base/address_file.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace sheaf {
namespace {

class AddressFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "/sheaf_addr_XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  void TearDown() override {
    unsetenv("XDG_RUNTIME_DIR");
    std::filesystem::remove_all(directory_);
  }
  std::string directory_, error_;
};

TEST_F(AddressFileTest, ComesBackAsItWasWritten) {
  const std::string path = directory_ + "/a";
  ASSERT_TRUE(WriteAddressFile(path, "unix:/run/x", &error_)) << error_;
  ASSERT_TRUE(WriteAddressFile(path, "127.0.0.1:70", &error_)) << "replaced";
  EXPECT_EQ(ReadAddressFile(path), "127.0.0.1:70");
  struct stat info{};
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory_), std::filesystem::directory_iterator()), 1)
      << "nothing is left beside it";
}

TEST_F(AddressFileTest, SaysWhyItCannotBeWritten) {
  EXPECT_FALSE(WriteAddressFile(directory_ + "/no/such/a", "x", &error_));
  EXPECT_NE(error_.find("No such file"), std::string::npos) << error_;
}

TEST_F(AddressFileTest, ReadsNothingFromWhatIsNoAddress) {
  EXPECT_EQ(ReadAddressFile(directory_ + "/absent"), "");
  EXPECT_EQ(ReadAddressFile(directory_), "");
  std::ofstream(directory_ + "/long") << std::string(5000, 'x');
  EXPECT_EQ(ReadAddressFile(directory_ + "/long"), "");
}

TEST_F(AddressFileTest, MakesARuntimeDirectoryForThisUserAlone) {
  setenv("XDG_RUNTIME_DIR", directory_.c_str(), 1);
  const std::string runtime = RuntimeDirectory(&error_);
  EXPECT_EQ(runtime, directory_ + "/sheaf");
  struct stat info{};
  ASSERT_EQ(stat(runtime.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
  EXPECT_EQ(RuntimeDirectory(&error_), runtime) << "the second time, too";
}

TEST_F(AddressFileTest, DoesNotTrustADirectoryThatOthersMayEnter) {
  setenv("XDG_RUNTIME_DIR", directory_.c_str(), 1);
  ASSERT_EQ(mkdir((directory_ + "/sheaf").c_str(), 0700), 0);
  ASSERT_EQ(chmod((directory_ + "/sheaf").c_str(), 0755), 0);
  EXPECT_EQ(RuntimeDirectory(&error_), "");
  EXPECT_NE(error_.find("0700"), std::string::npos) << error_;
}

TEST_F(AddressFileTest, DoesNotFollowALink) {
  setenv("XDG_RUNTIME_DIR", directory_.c_str(), 1);
  ASSERT_EQ(mkdir((directory_ + "/elsewhere").c_str(), 0700), 0);
  ASSERT_EQ(symlink((directory_ + "/elsewhere").c_str(), (directory_ + "/sheaf").c_str()), 0);
  EXPECT_EQ(RuntimeDirectory(&error_), "");
}

TEST_F(AddressFileTest, ListsTheLivingAndTidiesUpAfterTheDead) {
  const pid_t child = fork();
  if (child == 0) _exit(0);
  ASSERT_GT(child, 0);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);  // its pid is free, and stays so for this test
  const auto own = static_cast<std::uint32_t>(getpid());
  const std::string dead = AnnouncedPath(directory_, "pool", static_cast<std::uint32_t>(child));
  ASSERT_TRUE(WriteAddressFile(dead, "/run/dead", &error_));
  ASSERT_TRUE(WriteAddressFile(AnnouncedPath(directory_, "scheduler", own), "127.0.0.1:1", &error_));
  ASSERT_TRUE(WriteAddressFile(AnnouncedPath(directory_, "pool", own), "/run/own", &error_));
  for (const char* stray :
       {"pool-x.address", "pool-.address", "pool-0.address", "notes.txt", "pool-99999999999.address"}) {
    std::ofstream(directory_ + "/" + stray) << "stray\n";
  }
  const auto found = ListAnnounced(directory_);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].kind, "pool");
  EXPECT_EQ(found[0].address, "/run/own");
  EXPECT_EQ(found[1].kind, "scheduler");
  EXPECT_EQ(found[1].pid, own);
  EXPECT_FALSE(std::filesystem::exists(dead));
}

}  // namespace
}  // namespace sheaf
