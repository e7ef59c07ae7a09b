// What /proc says about this program's processes: the pool, the supervisor and the workers that an
// embedded Init starts are all descendants of the driver.
#pragma once

#include <dirent.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

namespace bench {

// The number after `name` in a file of "Name:   123 kB" lines; -1 if there is none.
inline long FieldOf(const std::string& path, const std::string& name) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.compare(0, name.size() + 1, name + ":") == 0) {
      return std::strtol(line.c_str() + name.size() + 1, nullptr, 10);
    }
  }
  return -1;
}

inline std::string ProcPath(pid_t pid, const char* file) { return "/proc/" + std::to_string(pid) + "/" + file; }
inline bool IsAlive(pid_t pid) {
  std::ifstream file(ProcPath(pid, "stat"));
  std::string text;
  if (!std::getline(file, text)) return false;
  return text.substr(text.rfind(')')).compare(0, 3, ") Z") != 0;
}
inline std::string Executable(pid_t pid) {
  char text[4096];
  const auto size = readlink(ProcPath(pid, "exe").c_str(), text, sizeof text);
  return size < 0 ? "" : std::string(text, static_cast<std::size_t>(size));
}

// What its threads have used so far, in steps of ten milliseconds; 0 if it is gone.
inline double CpuSeconds(pid_t pid) {
  std::ifstream file(ProcPath(pid, "stat"));
  std::string text;
  if (!std::getline(file, text)) return 0;
  std::istringstream fields(text.substr(text.rfind(')') + 2));
  std::string skipped;
  for (int i = 0; i < 11; ++i) fields >> skipped;
  double user = 0, system = 0;
  fields >> user >> system;
  return (user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

// This process and all that descend from it.
inline std::vector<pid_t> Family() {
  std::multimap<pid_t, pid_t> children;
  DIR* proc = opendir("/proc");
  while (const dirent* entry = readdir(proc)) {
    const pid_t pid = std::atoi(entry->d_name);
    if (pid <= 0) continue;
    std::ifstream file(ProcPath(pid, "stat"));
    std::string text;
    if (!std::getline(file, text)) continue;
    std::istringstream rest(text.substr(text.rfind(')') + 2));
    char state;
    pid_t parent = 0;
    rest >> state >> parent;
    children.emplace(parent, pid);
  }
  closedir(proc);
  std::vector<pid_t> family = {getpid()};
  for (std::size_t i = 0; i < family.size(); ++i) {
    const auto [first, last] = children.equal_range(family[i]);
    for (auto child = first; child != last; ++child) family.push_back(child->second);
  }
  return family;
}

// Processes of the family that run this very program, the driver not counted: its workers.
inline std::vector<pid_t> WorkerProcesses() {
  std::vector<pid_t> workers;
  const std::string own = Executable(getpid());
  for (const pid_t pid : Family()) {
    if (pid != getpid() && Executable(pid) == own) workers.push_back(pid);
  }
  return workers;
}

inline long PssKb(const std::vector<pid_t>& pids) {
  long sum = 0;
  for (const pid_t pid : pids) sum += std::max(0L, FieldOf(ProcPath(pid, "smaps_rollup"), "Pss"));
  return sum;
}
inline long PrivateKb(pid_t pid) {
  const std::string path = ProcPath(pid, "smaps_rollup");
  return FieldOf(path, "Private_Clean") + FieldOf(path, "Private_Dirty");
}

}  // namespace bench
