// Each kind of process of a cluster stops for a while, in the middle of work, and goes on: whoever was given up meanwhile does no harm,
// every result is right, and when the driver has left nothing of it is left on any machine.
#include <dirent.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "sheaf/sheaf.h"
#include "tests/cluster/cluster.h"
#include "tests/cluster/load.h"

namespace {

using std::chrono::milliseconds;

class StopsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const std::string& id : pools_) cluster_.StartPool(id, id == "near" ? 0 : 2);
    if (HasFatalFailure()) return;
    for (const std::string& id : pools_) memory_before_.push_back(MemoryOf(id));
    setenv("SHEAF_ADDRESS", cluster_.SocketOf("near").c_str(), 1);
    int argc = 1;
    char program[] = "stops_test";
    char* argv[] = {program, nullptr};
    sheaf::Init(argc, argv);
  }
  void TearDown() override {
    sheaf::Shutdown();
    unsetenv("SHEAF_ADDRESS");
    NothingIsLeft();
  }
  // Processes that a pool's supervisor has started, by what they were started as.
  std::vector<pid_t> Of(const std::string& pool, const std::string& word) const {
    std::vector<pid_t> found;
    for (const pid_t pid : cluster_.ChildrenOf(cluster_.SupervisorOf(pool))) {
      std::string words;
      std::getline(std::ifstream("/proc/" + std::to_string(pid) + "/cmdline"), words);
      for (char& c : words) c = c == '\0' ? ' ' : c;
      if (words.find(word) != std::string::npos) found.push_back(pid);
    }
    return found;
  }
  // Shared memory that the pool keeps descriptors of.
  std::size_t MemoryOf(const std::string& pool) const {
    std::size_t count = 0;
    std::error_code ignored;
    for (const auto& entry :
         std::filesystem::directory_iterator("/proc/" + std::to_string(cluster_.PoolOf(pool)) + "/fd", ignored))
      count += std::filesystem::read_symlink(entry.path(), ignored).string().starts_with("/memfd:");
    return count;
  }
  void NothingIsLeft() {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    for (std::size_t i = 0; i < pools_.size(); ++i) {
      const std::string& id = pools_[i];
      std::size_t processes = 0, memory = 0;
      do {
        processes = cluster_.ChildrenOf(cluster_.SupervisorOf(id)).size();
        memory = MemoryOf(id);
        if (processes <= 2 && memory <= memory_before_[i] + kPrepared) break;  // the pool and its transfer server
        poll(nullptr, 0, 20);
      } while (std::chrono::steady_clock::now() < deadline);
      EXPECT_LE(processes, 2u) << id;
      EXPECT_LE(memory, memory_before_[i] + kPrepared) << id;
    }
  }
  // Stops them after the work has begun, and lets them go on.
  void StopWhileWorking(const std::vector<pid_t>& pids, milliseconds time) {
    load_.Submit(40, 60, 20);
    for (const pid_t pid : pids) kill(pid, SIGSTOP);
    poll(nullptr, 0, static_cast<int>(time.count()));
    for (const pid_t pid : pids) kill(pid, SIGCONT);
    EXPECT_EQ(load_.Collect(), 0) << load_.last_error;
  }
  void Warm() {
    load_.Submit(4, 2, 1);
    EXPECT_EQ(load_.Collect(), 0) << load_.last_error;
  }
  // 0.1 s: nobody notices. 1 s: some do. 3 s: it is given up. SHEAF_TEST_STOP_MS: another one, up to 10 s.
  static std::vector<milliseconds> Times() {
    std::vector<milliseconds> times{milliseconds(100), milliseconds(1000), milliseconds(3000)};
    if (const char* text = std::getenv("SHEAF_TEST_STOP_MS")) times.push_back(milliseconds(std::atoi(text)));
    return times;
  }

  static constexpr std::size_t kPrepared = 24;  // sets of segments that a pool makes before they are asked for
  const std::vector<std::string> pools_{"near", "far-a", "far-b"};
  std::vector<std::size_t> memory_before_;
  sheaf::Cluster cluster_;
  sheaf::test::Load load_;
};

TEST_F(StopsTest, TheScheduler) {
  Warm();
  for (const milliseconds time : Times()) StopWhileWorking({cluster_.SchedulerPid()}, time);
}

TEST_F(StopsTest, APoolThatLends) {
  Warm();
  for (const milliseconds time : Times()) StopWhileWorking({cluster_.PoolOf("far-a")}, time);
}

TEST_F(StopsTest, ThePoolOfTheDriver) {
  Warm();
  for (const milliseconds time : Times()) StopWhileWorking({cluster_.PoolOf("near")}, time);
}

TEST_F(StopsTest, ASupervisor) {
  Warm();
  for (const milliseconds time : Times()) StopWhileWorking({cluster_.SupervisorOf("far-b")}, time);
}

TEST_F(StopsTest, NearHalves) {
  Warm();
  for (const milliseconds time : Times()) StopWhileWorking(Of("near", "internal-relay near"), time);
}

TEST_F(StopsTest, FarHalves) {
  Warm();
  for (const milliseconds time : Times()) StopWhileWorking(Of("far-a", "internal-relay far"), time);
}

TEST_F(StopsTest, TransferServers) {
  Warm();
  for (const milliseconds time : Times()) StopWhileWorking(Of("far-a", "internal-relay transfers"), time);
}

TEST_F(StopsTest, AWholeMachine) {
  Warm();
  for (const milliseconds time : Times()) {
    std::vector<pid_t> all = cluster_.ChildrenOf(cluster_.SupervisorOf("far-b"));
    all.push_back(cluster_.SupervisorOf("far-b"));
    StopWhileWorking(all, time);
  }
}

}  // namespace
