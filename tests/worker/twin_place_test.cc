// What a job's twin has of its own on a machine that lends to it: there while it lives, gone afterwards.
#include "worker/relay/twin_place.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>

#include "base/hex.h"

namespace sheaf::relay {
namespace {

namespace fs = std::filesystem;

class TwinPlaceTest : public ::testing::Test {
 protected:
  TwinPlaceTest() {
    char name[] = "/tmp/sheaf-twin-place-test-XXXXXX";
    cache_ = mkdtemp(name);
  }
  ~TwinPlaceTest() override { fs::remove_all(cache_); }
  Hash Copy(std::uint8_t number, const std::string& text) const {
    const Hash hash{number};
    std::ofstream(cache_ + "/" + HexOf(hash.data(), hash.size())) << text;
    return hash;
  }
  static std::string Read(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::string cache_;
};

TEST_F(TwinPlaceTest, TakesNoRoomUntilItIsNeeded) {
  TwinPlace place(cache_);
  EXPECT_TRUE(fs::is_empty(cache_));
  EXPECT_EQ(place.libraries() + place.work(), "");
}

TEST_F(TwinPlaceTest, HasLibrariesUnderTheirOwnNames) {
  TwinPlace place(cache_);
  ASSERT_EQ(place.AddLibrary("libone.so.1", Copy(1, "one")), "");
  ASSERT_EQ(place.AddLibrary("libtwo.so", Copy(2, "two")), "");
  EXPECT_EQ(Read(place.libraries() + "/libone.so.1"), "one");
  EXPECT_EQ(Read(place.libraries() + "/libtwo.so"), "two");
  EXPECT_NE(place.AddLibrary("libtwo.so", Copy(3, "three")), "") << "a name means one library";
}

TEST_F(TwinPlaceTest, IsNobodyElses) {
  TwinPlace one(cache_), two(cache_);
  ASSERT_EQ(one.MakeWork(), "");
  ASSERT_EQ(two.MakeWork(), "");
  EXPECT_NE(one.work(), two.work());
  EXPECT_TRUE(fs::is_empty(one.work()));
}

TEST_F(TwinPlaceTest, HasFilesThatAreItsOwnToChange) {
  TwinPlace place(cache_);
  const Hash hash = Copy(1, "text");
  ASSERT_EQ(place.AddFile("data/deep/one.txt", hash, 4, false), "");
  ASSERT_EQ(place.AddFile("data/run.sh", hash, 4, true), "");
  ASSERT_EQ(place.AddFile("empty", Hash{9}, 0, false), "");
  EXPECT_EQ(Read(place.work() + "/data/deep/one.txt"), "text");
  EXPECT_EQ(Read(place.work() + "/empty"), "");
  EXPECT_TRUE(fs::exists(place.work() + "/empty"));
  const auto may_run = [&](const char* name) {
    return (fs::status(place.work() + name).permissions() & fs::perms::owner_exec) != fs::perms::none;
  };
  EXPECT_TRUE(may_run("/data/run.sh"));
  EXPECT_FALSE(may_run("/data/deep/one.txt"));
  std::ofstream(place.work() + "/data/deep/one.txt") << "changed";
  EXPECT_EQ(Read(cache_ + "/" + HexOf(hash.data(), hash.size())), "text");
}

TEST_F(TwinPlaceTest, RefusesFilesThatCannotLieBesideEachOther) {
  TwinPlace place(cache_);
  const Hash hash = Copy(1, "text");
  ASSERT_EQ(place.AddFile("a", hash, 4, false), "");
  EXPECT_NE(place.AddFile("a/b", hash, 4, false), "");
  ASSERT_EQ(place.AddFile("c/d", hash, 4, false), "");
  EXPECT_NE(place.AddFile("c", hash, 4, false), "");
  EXPECT_NE(place.AddFile("e", hash, 5, false), "") << "the copy is shorter";
}

TEST_F(TwinPlaceTest, IsRemovedWithoutTheCopiesThatItNames) {
  TwinPlace place(cache_);
  const Hash hash = Copy(1, "one");
  ASSERT_EQ(place.AddLibrary("libone.so", hash), "");
  ASSERT_EQ(place.MakeWork(), "");
  std::ofstream(place.work() + "/result") << "of a task";
  place.Remove();
  place.Remove();
  EXPECT_FALSE(fs::exists(fs::path(place.work()).parent_path()));
  EXPECT_EQ(Read(cache_ + "/" + HexOf(hash.data(), hash.size())), "one");
}

TEST_F(TwinPlaceTest, IsSweptAwayAfterItsProcessHasDiedAndNotBefore) {
  std::string work;
  {
    TwinPlace place(cache_);
    ASSERT_EQ(place.MakeWork(), "");
    work = place.work();
    std::ofstream(work + "/result") << "of a task";
    TwinPlace::Sweep(cache_);
    EXPECT_TRUE(fs::exists(work));
  }  // not removed, as if it had been killed
  EXPECT_TRUE(fs::exists(work));
  TwinPlace::Sweep(cache_);
  EXPECT_TRUE(fs::is_empty(cache_));
}

TEST_F(TwinPlaceTest, SaysWhyItCannotBeMade) {
  TwinPlace place(cache_ + "/nowhere");
  EXPECT_NE(place.MakeWork(), "");
}

}  // namespace
}  // namespace sheaf::relay
