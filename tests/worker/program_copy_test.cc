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

}  // namespace
}  // namespace sheaf::relay
