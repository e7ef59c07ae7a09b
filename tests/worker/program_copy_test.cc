// Copies of programs: what is hashed, and what is remembered of it.
#include "worker/relay/program_copy.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/hex.h"
#include "base/unix_time.h"

namespace sheaf::relay {
namespace {

class ProgramCopyTest : public ::testing::Test {
 protected:
  ProgramCopyTest() {
    char name[] = "/tmp/sheaf-program-copy-test-XXXXXX";
    directory_ = mkdtemp(name);
  }
  ~ProgramCopyTest() override { std::filesystem::remove_all(directory_); }
  Hash HashAt(const std::string& path) {
    const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    Hash hash{};
    std::uint64_t bytes = 0;
    EXPECT_TRUE(HashFile(fd.get(), directory_, &hash, &bytes));
    EXPECT_EQ(bytes, std::filesystem::file_size(path));
    return hash;
  }
  std::vector<std::filesystem::path> Notes() const {
    std::vector<std::filesystem::path> notes;
    for (const auto& entry : std::filesystem::directory_iterator(directory_))
      if (entry.path().filename().string().starts_with("hash-")) notes.push_back(entry.path());
    return notes;
  }
  std::string directory_;
};

TEST_F(ProgramCopyTest, ReadsAFileOnceAsLongAsItIsTheSame) {
  const std::string program = "/bin/sh";
  const Hash hash = HashAt(program);
  ASSERT_EQ(Notes().size(), 1u);
  EXPECT_EQ(HashAt(program), hash);
  // The second time it was the note that was read, as another note shows.
  std::ofstream(Notes()[0], std::ios::binary).write(std::string(hash.size(), '\1').data(), hash.size());
  EXPECT_NE(HashAt(program), hash);
  // One that is cut short is none.
  std::ofstream(Notes()[0], std::ios::binary).put('\1');
  EXPECT_EQ(HashAt(program), hash);
}

TEST_F(ProgramCopyTest, RemembersNothingOfAFileThatWasJustWritten) {
  const std::string file = directory_ + "/program";
  std::ofstream(file) << "one";
  const Hash one = HashAt(file);
  EXPECT_TRUE(Notes().empty());
  std::ofstream(file) << "two";
  EXPECT_NE(HashAt(file), one);
}

TEST_F(ProgramCopyTest, HashesRegularFilesOnly) {
  const Fd device(open("/dev/zero", O_RDONLY | O_CLOEXEC));
  Hash hash{};
  std::uint64_t bytes = 0;
  EXPECT_FALSE(HashFile(device.get(), directory_, &hash, &bytes));
}

TEST_F(ProgramCopyTest, RemovesACopyThatIsNotWhatItsNameSays) {
  const Hash hash{1, 2, 3};
  const std::string name = HexOf(hash.data(), hash.size());
  std::ofstream(directory_ + "/" + name) << "something else";
  EXPECT_FALSE(FindCopy(directory_, hash));
  EXPECT_FALSE(std::filesystem::exists(directory_ + "/" + name));
}

// ---- what is forgotten

constexpr std::int64_t kDay = 86'400;

class PruneTest : public ProgramCopyTest {
 protected:
  // A copy of so many bytes; its name is made of one digit.
  std::string Copy(char digit, std::size_t bytes) {
    const std::string path = directory_ + "/" + std::string(64, digit);
    std::ofstream(path) << std::string(bytes, digit);
    return path;
  }
  bool Exists(const std::string& path) const { return std::filesystem::exists(std::filesystem::symlink_status(path)); }
  void UsedAt(const std::string& path, std::int64_t when) {
    struct stat info{};
    ASSERT_EQ(stat(path.c_str(), &info), 0);
    const std::string note = NoteOf(info, directory_);
    std::ofstream(note) << "note";
    const timespec times[2] = {{when, 0}, {when, 0}};
    ASSERT_EQ(utimensat(AT_FDCWD, note.c_str(), times, 0), 0);
  }
  const std::int64_t now_ = UnixSeconds();
};

TEST_F(PruneTest, RemovesWhatWasUsedLongestAgoUntilTheRestFits) {
  const std::string a = Copy('a', 1000), b = Copy('b', 1000), c = Copy('c', 1000);
  const std::int64_t later = now_ + 10 * kDay;
  UsedAt(a, now_ + 3 * kDay);
  UsedAt(b, now_ + 1 * kDay);
  UsedAt(c, now_ + 2 * kDay);
  PruneCopies(directory_, 3000, later);
  EXPECT_TRUE(Exists(a) && Exists(b) && Exists(c));
  PruneCopies(directory_, 2500, later);
  EXPECT_TRUE(Exists(a) && !Exists(b) && Exists(c));
  PruneCopies(directory_, 0, later);
  EXPECT_FALSE(Exists(a) || Exists(c));
}

TEST_F(PruneTest, KeepsWhatWasUsedWithinADayAndWhatAJobIsLinkedTo) {
  const std::string recent = Copy('a', 1000), linked = Copy('b', 1000), old = Copy('c', 1000);
  std::filesystem::create_directories(directory_ + "/job-x-123456/libraries");
  std::filesystem::create_symlink(linked, directory_ + "/job-x-123456/libraries/lib.so");
  const std::int64_t later = now_ + 10 * kDay;
  UsedAt(recent, later - kDay + 60);
  PruneCopies(directory_, 0, later);
  EXPECT_TRUE(Exists(recent));
  EXPECT_TRUE(Exists(linked));
  EXPECT_FALSE(Exists(old));
}

TEST_F(PruneTest, ForgetsNotesAndDraftsThatNobodyTouches) {
  const std::string note = directory_ + "/hash-1-2-3", draft = directory_ + "/" + std::string(64, 'd') + ".part-17";
  std::ofstream(note) << "x";
  std::ofstream(draft) << "x";
  PruneCopies(directory_, 0, now_ + 20 * kDay);
  EXPECT_TRUE(Exists(note));
  EXPECT_FALSE(Exists(draft));
  PruneCopies(directory_, 0, now_ + 31 * kDay);
  EXPECT_FALSE(Exists(note));
}

}  // namespace
}  // namespace sheaf::relay
