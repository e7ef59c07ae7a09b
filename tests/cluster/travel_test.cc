// What a job brings to another machine beside its executable. The program is a copy in a directory of its own, which the
// other pools know nothing of; all pools are on this machine, with one cache of copies.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "tests/cluster/cluster.h"

namespace {

namespace fs = std::filesystem;

class TravelTest : public ::testing::Test {
 protected:
  void SetUp() override {
    cluster_.StartPool("near", 0);
    cluster_.StartPool("far", 1);
    if (HasFatalFailure()) return;
    fs::create_directories(home_ / "lib");
    fs::copy_file(TRAVEL_PROGRAM, home_ / "program");
    fs::copy_file(TRAVEL_LIBRARY, home_ / "lib" / fs::path(TRAVEL_LIBRARY).filename());
  }
  sheaf::cli::Child Run(std::vector<std::string> words, const std::string& files = "",
                        const std::string& pool = "near") {
    words.insert(words.begin(), home_ / "program");
    return {words, {{"SHEAF_ADDRESS", cluster_.SocketOf(pool)}, {"SHEAF_FILES", files}}};
  }
  // A working directory with files to take along, and one to leave.
  fs::path Job() const {
    const fs::path job = home_ / "job";
    fs::create_directories(job / "data" / "deep");
    for (const auto& [name, text] : std::map<std::string, std::string>{{"one.txt", "first"},
                                                                       {"other.txt", "left here"},
                                                                       {"data/input.txt", "input"},
                                                                       {"data/empty", ""},
                                                                       {"data/deep/run.sh", "#!/bin/sh\necho ran\n"}})
      std::ofstream(job / name) << text;
    fs::permissions(job / "data/deep/run.sh", fs::perms::owner_all);
    return job;
  }
  fs::path Cache() const { return fs::path(cluster_.directory()) / "programs"; }
  // Directories of twins that were not removed.
  std::vector<fs::path> Left() const {
    std::vector<fs::path> left;
    for (const auto& entry : fs::directory_iterator(Cache()))
      if (entry.is_directory()) left.push_back(entry.path());
    return left;
  }
  // False: some are there after a while, too.
  bool NothingIsLeft() const {
    for (int look = 0; look < 1000 && !Left().empty(); ++look) poll(nullptr, 0, 20);
    return Left().empty();
  }
  sheaf::Cluster cluster_;
  fs::path home_ = fs::path(cluster_.directory()) / "app";
};

TEST_F(TravelTest, BringsTheLibrariesThatTheOtherMachineDoesNotHave) {
  sheaf::cli::Child driver = Run({"library"});
  EXPECT_EQ(driver.Line(), home_ / "lib" / fs::path(TRAVEL_LIBRARY).filename());
  const fs::path there = driver.Line();
  EXPECT_TRUE(there.string().starts_with(Cache().string())) << there << driver.Errors();
  EXPECT_EQ(there.filename(), fs::path(TRAVEL_LIBRARY).filename());
  EXPECT_EQ(driver.Line(), "another worker");
  EXPECT_EQ(driver.Line(), there);
  EXPECT_EQ(driver.Line(), "done");
  EXPECT_TRUE(NothingIsLeft()) << Left().front();
}

TEST_F(TravelTest, FetchesALibraryOnce) {
  std::map<std::string, ino_t> copies[2];
  for (auto& found : copies) {
    sheaf::cli::Child driver = Run({"library"});
    const std::string said = driver.Rest();
    EXPECT_EQ(driver.Wait(), 0) << said << driver.Errors();
    fs::rename(home_ / "lib.away", home_ / "lib");
    for (const auto& entry : fs::directory_iterator(Cache())) {
      struct stat info{};
      const std::string name = entry.path().filename().string();
      if (name.size() == 64 && stat(entry.path().c_str(), &info) == 0) found[name] = info.st_ino;
    }
  }
  EXPECT_EQ(copies[0].size(), 2u) << "the program and its library";
  EXPECT_EQ(copies[0], copies[1]) << "the same files";
}

TEST_F(TravelTest, BringsTheFilesThatItDeclaresAndNoOthers) {
  const fs::path job = Job();
  for (int run = 0; run < 2; ++run) {
    sheaf::cli::Child driver = Run({"files", job}, "one.txt:data/");
    const fs::path there = driver.Line();
    EXPECT_TRUE(there.string().starts_with(Cache().string())) << there << driver.Errors();
    EXPECT_EQ(driver.Line(), "one.txt: first");
    EXPECT_EQ(driver.Line(), "data/input.txt: input");
    EXPECT_EQ(driver.Line(), "data/empty: ");
    EXPECT_EQ(driver.Line(), "other.txt: (none)");
    EXPECT_EQ(driver.Line(), "ran");
    EXPECT_EQ(driver.Line(), "changed");
    EXPECT_EQ(driver.Line(), "done");
    EXPECT_TRUE(NothingIsLeft()) << Left().front();
  }
  std::string first;
  std::getline(std::ifstream(job / "one.txt"), first);
  EXPECT_EQ(first, "first") << "what a task writes over there is its own";
}

TEST_F(TravelTest, TakesWhatAnOptionDeclares) {
  sheaf::cli::Child driver = Run({"files", Job(), "--sheaf-files=data/input.txt"}, "one.txt");
  driver.Line();
  EXPECT_EQ(driver.Line(), "one.txt: (none)");
  EXPECT_EQ(driver.Line(), "data/input.txt: input");
}

TEST_F(TravelTest, LeavesWorkersOfTheDriversMachineInItsDirectory) {
  const fs::path job = Job();
  sheaf::cli::Child driver = Run({"files", job}, "one.txt", "far");
  EXPECT_EQ(driver.Line(), job);
  driver.Line();
  EXPECT_EQ(driver.Line(), "data/input.txt: input");
}

TEST_F(TravelTest, TellsTheDriverWhichFileItCannotTake) {
  const fs::path job = Job();
  for (const char* files : {"one.txt:missing.txt", "/etc/passwd", "data/../../lib"}) {
    sheaf::cli::Child driver = Run({"files", job}, files);
    const std::string line = driver.Line();
    EXPECT_TRUE(line.starts_with("InitError: ")) << line;
    const std::string name(files);
    EXPECT_NE(line.find("\"" + name.substr(name.find(':') + 1) + "\""), std::string::npos) << line;
    EXPECT_EQ(driver.Wait(), 1);
  }
}

TEST_F(TravelTest, EndsWithATypedErrorWhenWhatItDeclaredIsNotThereAnyMore) {
  sheaf::cli::Child driver = Run({"gone", Job()}, "one.txt");
  const std::string line = driver.Line();
  EXPECT_TRUE(line.starts_with("LimitError: ")) << line;
  EXPECT_EQ(driver.Wait(), 1);
  EXPECT_NE(driver.Errors().find("one.txt"), std::string::npos) << driver.Errors();
}

TEST_F(TravelTest, LimitsTasksElsewhereAsTheDriverIsAsFarAsTheMachineAllows) {
  // What the lender's supervisor has, its workers inherit.
  const pid_t lender = cluster_.SupervisorOf("far");
  rlimit seconds{3000, 3000}, files{};
  ASSERT_EQ(prlimit(lender, RLIMIT_CPU, &seconds, nullptr), 0);
  ASSERT_EQ(prlimit(lender, RLIMIT_NOFILE, nullptr, &files), 0);
  ASSERT_GT(files.rlim_cur, 777u);
  {
    sheaf::cli::Child driver = Run({"limits"});
    EXPECT_EQ(driver.Line(), "777 3000");
    EXPECT_EQ(driver.Line(), std::to_string(files.rlim_max) + " 3000") << "hard limits stay";
    EXPECT_EQ(driver.Line(), "done");
  }
  sheaf::cli::Child driver = Run({"limits"}, "", "far");
  EXPECT_EQ(driver.Line(), std::to_string(files.rlim_cur) + " 3000") << "workers beside the driver have their pool's";
}

TEST_F(TravelTest, GoesOnFromTheOtherMachineWithEverythingThatItBrought) {
  cluster_.StartPool("further", 1);
  sheaf::cli::Child driver = Run({"onward", Job()}, "one.txt");
  for (int place = 0; place < 2; ++place) {
    const std::string line = driver.Line();
    EXPECT_TRUE(line.starts_with(Cache().string())) << line;
    EXPECT_TRUE(line.ends_with("/work library first 777 5000")) << line;
  }
  EXPECT_EQ(driver.Line(), "done") << "each of them with the same";
}

}  // namespace
