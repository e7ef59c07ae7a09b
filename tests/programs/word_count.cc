// Counting words of files: a map comes back from each task, and the driver adds them up as they finish.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include "sheaf/sheaf.h"

namespace {

using Counts = std::map<std::string, long>;

Counts CountWords(const std::string& path) {
  Counts counts;
  std::ifstream in(path);
  if (!in) throw std::runtime_error("cannot read " + path);
  for (std::string word; in >> word;) ++counts[word];
  return counts;
}

class WordCount : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { sheaf::Init(); }
  static void TearDownTestSuite() { sheaf::Shutdown(); }
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "sheaf_words_XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::filesystem::path folder_;
};

TEST_F(WordCount, AddsUpWhatEachTaskCounted) {
  sheaf::Completions<Counts> done;
  for (int i = 1; i <= 20; ++i) {
    const auto path = folder_ / std::to_string(i);
    {
      std::ofstream out(path);
      for (int j = 0; j < i; ++j) out << "common word" << i << "\n";
    }
    done.Add(sheaf::Remote<CountWords>(path.c_str()));
  }
  Counts total;
  while (auto next = done.Next()) {
    for (const auto& [word, count] : next->second.Get()) total[word] += count;
  }
  EXPECT_EQ(total.size(), 21u);
  EXPECT_EQ(total["common"], 210);
  EXPECT_EQ(total["word7"], 7);
}

TEST_F(WordCount, AFileThatIsNotThereIsTheTasksError) {
  EXPECT_THROW(sheaf::Remote<CountWords>((folder_ / "missing").string()).Get(), sheaf::TaskError);
}

}  // namespace
