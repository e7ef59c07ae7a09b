// The disk under the scheduler's state is full: what is there goes on, what is new is refused with the reason, nothing is lost, and all is
// well again once there is room.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <memory>
#include <string>

#include "sheaf/sheaf.h"
#include "tests/cluster/cluster.h"
#include "tests/cluster/load.h"

namespace {

class FullDiskTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string address = cluster_.address();
    cluster_.KillScheduler();
    state_ = cluster_.directory() + "/state";
    if (mount("tmpfs", state_.c_str(), "tmpfs", 0, "size=512k,mode=0700") != 0)
      GTEST_SKIP() << "a file system of its own needs the right to mount one";
    mounted_ = true;
    cluster_.StartScheduler(address);
    cluster_.StartPool("near", 0);
    cluster_.StartPool("far-a", 2);
    setenv("SHEAF_ADDRESS", cluster_.SocketOf("near").c_str(), 1);
    int argc = 1;
    char program[] = "full_disk_test";
    char* argv[] = {program, nullptr};
    sheaf::Init(argc, argv);
  }
  void TearDown() override {
    if (!mounted_) return;
    sheaf::Shutdown();
    unsetenv("SHEAF_ADDRESS");
    cluster_.KillScheduler();
    umount2(state_.c_str(), MNT_DETACH);
  }
  void Fill() const {
    std::ofstream file(state_ + "/fill", std::ios::binary);
    const std::string block(1024, 'x');
    while (file.write(block.data(), static_cast<std::streamsize>(block.size())).flush()) {
    }
  }
  std::string Status() {
    sheaf::cli::Child child({std::getenv("SHEAF_BIN"), "status", "--address", cluster_.address(), "--format", "json"},
                            {});
    std::string text;
    for (std::string line = child.Line(); !line.empty(); line = child.Line()) text += line + "\n";
    return text;
  }
  // Whether the status comes to be so within half a minute.
  bool Becomes(const std::function<bool(const std::string&)>& so) {
    for (const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
         std::chrono::steady_clock::now() < end; poll(nullptr, 0, 50))
      if (so(Status())) return true;
    return false;
  }
  void Work() {
    load_.Submit(10, 10, 4);
    EXPECT_EQ(load_.Collect(), 0) << load_.last_error;
  }
  std::string state_;
  bool mounted_ = false;
  sheaf::Cluster cluster_;
  sheaf::test::Load load_;
};

TEST_F(FullDiskTest, RefusesNewPoolsWithTheReasonUntilThereIsRoom) {
  Work();
  const pid_t scheduler = cluster_.SchedulerPid();
  Fill();
  load_.Submit(20, 20, 8);
  cluster_.StartPool("far-b", 2);
  EXPECT_TRUE(Becomes([](const std::string& status) { return status.find("full") != std::string::npos; })) << Status();
  EXPECT_EQ(Status().find("\"far-b\""), std::string::npos) << "a pool that is not written down is no member";
  EXPECT_EQ(load_.Collect(), 0) << load_.last_error;
  Work();
  EXPECT_EQ(kill(scheduler, 0), 0);
  unlink((state_ + "/fill").c_str());
  EXPECT_TRUE(Becomes([](const std::string& status) { return status.find("\"far-b\"") != std::string::npos; }))
      << Status();
  Work();
}

TEST_F(FullDiskTest, KeepsWhatItKnewOverARestart) {
  Work();
  Fill();
  const std::string address = cluster_.address();
  cluster_.KillScheduler();
  unlink((state_ + "/fill").c_str());
  cluster_.StartScheduler(address);
  EXPECT_TRUE(Becomes([](const std::string& status) {
    return status.find("\"far-a\"") != std::string::npos && status.find("\"near\"") != std::string::npos;
  }));
  Work();
}

}  // namespace
