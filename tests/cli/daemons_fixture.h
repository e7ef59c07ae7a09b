// The real `sheaf` in a directory of its own: started, asked, and what it says.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/cli/child.h"

namespace sheaf::cli {

using nlohmann::json;

class DaemonsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = "/tmp/sheaf_cli_XXXXXX";  // short: sockets lie in it
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
    environment_ = {{"XDG_RUNTIME_DIR", directory_},
                    {"XDG_STATE_HOME", directory_ + "/state"},
                    {"SHEAF_ADDRESS", ""},
                    {"SHEAF_BIN", SHEAF_EXECUTABLE}};
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  Child Sheaf(std::vector<std::string> words) {
    words.insert(words.begin(), SHEAF_EXECUTABLE);
    return Child(words, environment_);
  }
  // Runs to the end; the exit code must be as given. Returns standard output.
  std::string Run(const std::vector<std::string>& words, int exit_code, std::string* errors = nullptr) {
    Child child = Sheaf(words);
    const std::string out = child.Rest();
    const std::string err = child.Errors();
    EXPECT_EQ(child.Wait(), exit_code) << err;
    if (errors != nullptr) *errors = err;
    return out;
  }
  json Status(int exit_code = 0, const std::vector<std::string>& more = {}) {
    std::vector<std::string> words = {"status", "--format", "json"};
    words.insert(words.end(), more.begin(), more.end());
    const std::string text = Run(words, exit_code);
    EXPECT_TRUE(json::accept(text)) << text;
    return json::parse(text, nullptr, false);
  }
  bool StatusBecomes(const std::function<bool(const json&)>& wanted) {
    const auto deadline = std::chrono::steady_clock::now() + Child::kPatience;
    while (std::chrono::steady_clock::now() < deadline) {
      if (wanted(Status())) return true;
    }
    return false;
  }
  // The word after `key` in a ready line.
  static std::string Word(const std::string& line, const std::string& key) {
    const std::size_t at = line.find(" " + key + " ");
    if (at == std::string::npos) return {};
    const std::size_t begin = at + key.size() + 2;
    return line.substr(begin, line.find(' ', begin) - begin);
  }
  static std::string FileText(const std::string& path) {
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    return line;
  }

  std::string directory_;
  std::map<std::string, std::string> environment_;
};

}  // namespace sheaf::cli
