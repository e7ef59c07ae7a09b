// A cluster of real processes for tests: one scheduler, pools on the loopback interface, started and killed one by one.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/cli/child.h"

namespace sheaf {

class Cluster {
 public:
  Cluster() {
    char name[] = "/tmp/sheaf-cluster-test-XXXXXX";
    directory_ = mkdtemp(name);
    environment_ = {{"XDG_RUNTIME_DIR", directory_},
                    {"XDG_STATE_HOME", directory_},
                    {"SHEAF_ADDRESS", ""},
                    {"SHEAF_CACHE", directory_ + "/programs"}};
    StartScheduler("127.0.0.1:0");
  }
  ~Cluster() {
    pools_.clear();  // kills the supervisors, and everything dies with them
    scheduler_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }

  void StartScheduler(const std::string& listen) {
    const char* sheaf = std::getenv("SHEAF_BIN");
    scheduler_ = std::make_unique<cli::Child>(
        std::vector<std::string>{sheaf, "scheduler", "start", "--listen", listen, "--state", directory_ + "/state"},
        environment_);
    const std::string ready = scheduler_->Line();
    const std::string mark = "address ";
    const std::size_t at = ready.find(mark);
    ASSERT_NE(at, std::string::npos) << ready << scheduler_->Errors();
    address_ = ready.substr(at + mark.size(), ready.find(' ', at + mark.size()) - at - mark.size());
  }
  pid_t SchedulerPid() const { return scheduler_->pid(); }
  void KillScheduler() {
    scheduler_->Signal(SIGKILL);
    scheduler_->Wait();
  }

  void StartPool(const std::string& id, int workers, const std::vector<std::string>& more = {}) {
    Bury(id);
    std::vector<std::string> command{std::getenv("SHEAF_BIN"),
                                     "pool",
                                     "start",
                                     "--workers",
                                     std::to_string(workers),
                                     "--id",
                                     id,
                                     "--scheduler",
                                     address_,
                                     "--socket",
                                     SocketOf(id),
                                     "--drain",
                                     "1"};
    if (std::find(more.begin(), more.end(), "--store") == more.end())
      command.insert(command.end(), {"--store", "1GiB"});
    command.insert(command.end(), more.begin(), more.end());
    pools_.emplace(id, std::make_unique<cli::Child>(command, environment_));
    const std::string ready = pools_.at(id)->Line();
    ASSERT_NE(ready.find("sheaf pool ready"), std::string::npos) << ready << pools_.at(id)->Errors();
    processes_[id] = static_cast<int>(syscall(SYS_pidfd_open, PoolOf(id), 0));
  }
  // The supervisor's pid; the pool itself is its child of that name.
  pid_t SupervisorOf(const std::string& id) const { return pools_.at(id)->pid(); }
  pid_t PoolOf(const std::string& id) const { return ChildNamed(SupervisorOf(id), "sheaf-pool"); }
  std::vector<pid_t> ChildrenOf(pid_t parent) const {
    std::vector<pid_t> children;
    std::ifstream list("/proc/" + std::to_string(parent) + "/task/" + std::to_string(parent) + "/children");
    for (pid_t pid = 0; list >> pid;) children.push_back(pid);
    return children;
  }
  pid_t ChildNamed(pid_t parent, const std::string& name) const {
    for (const pid_t pid : ChildrenOf(parent)) {
      std::string found;
      std::getline(std::ifstream("/proc/" + std::to_string(pid) + "/comm"), found);
      if (found == name) return pid;
    }
    return 0;
  }
  void KillPool(const std::string& id) { pools_.at(id)->Signal(SIGKILL); }  // with its supervisor: the whole machine
  // Returns once neither the supervisor nor the pool is left.
  void Bury(const std::string& id) {
    const auto found = pools_.find(id);
    if (found == pools_.end()) return;
    pools_.erase(found);
    pollfd ended{processes_.at(id), POLLIN, 0};
    EXPECT_EQ(poll(&ended, 1, 10'000), 1);
    close(processes_.at(id));
  }
  std::string SocketOf(const std::string& id) const { return directory_ + "/" + id + ".sock"; }
  const std::string& directory() const { return directory_; }
  const std::string& address() const { return address_; }

 private:
  std::string directory_, address_;
  std::map<std::string, std::string> environment_;
  std::unique_ptr<cli::Child> scheduler_;
  std::map<std::string, std::unique_ptr<cli::Child>> pools_;
  std::map<std::string, int> processes_;  // pidfds of the pools
};

}  // namespace sheaf
