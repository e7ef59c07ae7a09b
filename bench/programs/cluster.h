// A cluster of real processes for benchmarks: a scheduler, a pool without workers for the driver, pools with workers.
#pragma once

#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "bench/links.h"
#include "bench/measure.h"
#include "sheaf/sheaf.h"

namespace bench {

// kPlain: pools on the loopback interface. kTls: each in a namespace of its own. kSlow: behind links of 50 MB/s both ways.
enum class Wire { kPlain, kTls, kSlow };

// Ends with the object: the supervisors are killed, and all they started dies with them.
class Cluster {
 public:
  Cluster(int pools, int workers, Wire wire = Wire::kPlain) : wire_(wire), links_(wire == Wire::kSlow) {
    if (!std::getenv("SHEAF_BIN")) Die("SHEAF_BIN must name the sheaf executable, as ./dev bench sets it");
    char name[] = "/tmp/sheaf-bench-net-XXXXXX";
    if (!mkdtemp(name)) Die("mkdtemp failed");
    directory_ = name;
    setenv("XDG_RUNTIME_DIR", name, 1);
    setenv("XDG_STATE_HOME", name, 1);
    setenv("SHEAF_CACHE", (directory_ + "/programs").c_str(), 1);
    if (wire != Wire::kPlain) {
      ok_ = links_.MakeHub() && links_.MakeMachine("scheduler") && links_.MakeMachine("near");
      for (int i = 0; i < pools && ok_; ++i) ok_ = links_.MakeMachine("far" + std::to_string(i));
      if (!ok_) return;
    }
    Start("scheduler", {"scheduler", "start", "--listen", wire == Wire::kPlain ? "127.0.0.1:0" : "10.78.0.1:7400",
                        "--address-file", directory_ + "/scheduler"});
    scheduler_ = Await("scheduler");
    StartPool("near", 0);
    for (int i = 0; i < pools; ++i) StartPool("far" + std::to_string(i), workers);
    near_ = Await("near");
    for (int i = 0; i < pools; ++i) Await("far" + std::to_string(i));
  }
  ~Cluster() {
    for (const pid_t pid : processes_) kill(pid, SIGKILL);
    for (const pid_t pid : processes_) waitpid(pid, nullptr, 0);
    [[maybe_unused]] const int removed = std::system(("rm -rf " + directory_).c_str());
  }
  void Init() {
    setenv("SHEAF_ADDRESS", near_.c_str(), 1);
    sheaf::Init();
  }
  bool ok() const { return ok_; }  // the machine can do this
  const std::string& directory() const { return directory_; }
  // Everything that runs as that pool's machine: its supervisor and whatever that has started.
  std::vector<pid_t> ProcessesOf(int pool) const {
    std::vector<pid_t> all{processes_[static_cast<std::size_t>(pool) + 2]};
    for (std::size_t i = 0; i < all.size(); ++i) {
      const std::string pid = std::to_string(all[i]);
      std::ifstream children("/proc/" + pid + "/task/" + pid + "/children");
      for (pid_t child = 0; children >> child;) all.push_back(child);
    }
    return all;
  }
  void KillScheduler() {
    kill(processes_[0], SIGKILL);
    waitpid(processes_[0], nullptr, 0);
  }
  void RestartScheduler() {
    Start("scheduler", {"scheduler", "start", "--listen", scheduler_});
    processes_[0] = processes_.back();
    processes_.pop_back();
  }

 private:
  void StartPool(const std::string& id, int workers) {
    std::vector<std::string> words{"pool",     "start",     "--workers", std::to_string(workers), "--id",
                                   id,         "--store",   "4GiB",      "--address-file",        directory_ + "/" + id,
                                   "--labels", "pool=" + id};
    if (wire_ == Wire::kPlain) {
      words.insert(words.end(), {"--scheduler", scheduler_});
    } else {
      const std::string invitation = directory_ + "/" + id + ".invitation";
      if (!Shell(std::string(std::getenv("SHEAF_BIN")) + " token create --out " + invitation))
        Die("no invitation could be made");
      words.insert(words.end(), {"--join", scheduler_, "--token-file", invitation});
    }
    Start(id, std::move(words));
  }
  void Start(const std::string& machine, std::vector<std::string> words) {
    words.insert(words.begin(), std::getenv("SHEAF_BIN"));
    if (wire_ != Wire::kPlain) {
      const std::vector<std::string> inside{"/usr/bin/env", "ip", "netns", "exec", links_.NameOf(machine)};
      words.insert(words.begin(), inside.begin(), inside.end());
    }
    const pid_t pid = fork();
    if (pid == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);  // also when the benchmark gives up
      std::vector<char*> arguments;
      for (std::string& word : words) arguments.push_back(word.data());
      arguments.push_back(nullptr);
      if (!freopen("/dev/null", "w", stdout) || !freopen((directory_ + "/log").c_str(), "a", stderr)) _exit(1);
      execv(arguments[0], arguments.data());
      _exit(127);
    }
    processes_.push_back(pid);
  }
  std::string Await(const std::string& file) {
    for (int i = 0; i < 2000; ++i) {
      std::string line;
      if (std::getline(std::ifstream(directory_ + "/" + file), line) && !line.empty()) return line;
      usleep(5'000);
    }
    Die(file + " did not start");
  }
  const Wire wire_;
  Links links_;
  bool ok_ = true;
  std::string directory_, near_, scheduler_;
  std::vector<pid_t> processes_;
};

}  // namespace bench
