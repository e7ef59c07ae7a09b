// Room: examples. PSS from /proc/PID/smaps_rollup, over this process, its descendants and all workers seen.
#include "examples/demo/memory_proof.h"

#include <dirent.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <set>
#include <string>

namespace demo {
namespace {

struct Reading {
  int pid = 0;
  float sum = 0;
};

// Touches every page.
Reading ReadAll(const std::vector<sheaf::ml::Shard>& shards) {
  Reading reading{getpid(), 0};
  for (const auto& shard : shards) {
    const auto x = shard.x.span();
    for (std::size_t i = 0; i < x.size(); ++i) reading.sum += x[i];
  }
  return reading;
}

// Submits until every worker has answered, as the runtime alone decides who runs what. Bounded.
template <class Submit>
std::set<int> AskAll(std::size_t workers, const Submit& submit) {
  std::set<int> pids;
  for (int round = 0; round < 20 && pids.size() < workers; ++round) {
    std::vector<sheaf::ObjectRef<Reading>> answers;
    for (std::size_t i = 0; i < 2 * workers; ++i) answers.push_back(submit());
    for (const Reading& reading : sheaf::Get(answers)) pids.insert(reading.pid);
  }
  return pids;
}

std::set<int> Descendants(std::set<int> roots) {
  std::multimap<int, int> children;
  if (DIR* proc = opendir("/proc")) {
    while (const dirent* entry = readdir(proc)) {
      const int pid = std::atoi(entry->d_name);
      if (pid <= 0) continue;
      std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
      std::string text;
      std::getline(stat, text);
      // "pid (name) state parent ...": the name may hold anything, so look behind its last parenthesis.
      const std::size_t at = text.rfind(')');
      if (at != std::string::npos && at + 4 < text.size()) children.emplace(std::atoi(text.c_str() + at + 4), pid);
    }
    closedir(proc);
  }
  std::vector<int> open(roots.begin(), roots.end());
  while (!open.empty()) {
    const int parent = open.back();
    open.pop_back();
    const auto [first, last] = children.equal_range(parent);
    for (auto it = first; it != last; ++it) {
      if (roots.insert(it->second).second) open.push_back(it->second);
    }
  }
  return roots;
}

double PssMegabytes(const std::set<int>& pids) {
  double kilobytes = 0;
  for (const int pid : pids) {
    std::ifstream rollup("/proc/" + std::to_string(pid) + "/smaps_rollup");
    std::string word;
    while (rollup >> word) {
      if (word != "Pss:") continue;
      double value = 0;
      rollup >> value;
      kilobytes += value;
      break;
    }
  }
  return kilobytes * 1024 / 1e6;
}

}  // namespace

void ProveSharing(const Data& data, std::size_t workers) {
  // Once with nothing, so that starting a worker is not counted.
  const auto warm = AskAll(workers, [] { return sheaf::Remote<ReadAll>(std::vector<sheaf::ml::Shard>{}); });
  std::set<int> roots = warm;
  roots.insert(getpid());
  const double before = PssMegabytes(Descendants(roots));
  const auto readers = AskAll(workers, [&] { return sheaf::Remote<ReadAll>(data.train); });
  roots.insert(readers.begin(), readers.end());
  const double after = PssMegabytes(Descendants(roots));
  const double megabytes = static_cast<double>(data.bytes) / 1e6, n = static_cast<double>(readers.size());
  std::printf(
      "one copy: %zu workers read all %.0f MB of training data; the memory of all processes grew by %.1f MB "
      "(a copy for each would be %.0f MB)\n",
      readers.size(), megabytes, after - before, n * megabytes);
  std::fflush(stdout);
}

}  // namespace demo
