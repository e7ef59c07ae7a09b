// What it takes until a cluster goes on after one of its machines, or its scheduler, is gone.
//
//   pool       all processes of a machine are killed, or stopped, while a task runs there; until its
//              result has come from elsewhere                                        -> fault.pool.s
//   scheduler  killed with 100,000 tasks in flight and started again; until a new driver
//              has the result of its first task                                      -> fault.scheduler.ms
//
// Usage: faults MODE
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "bench/programs/cluster.h"
#include "bench/programs/driver.h"

namespace {

// Says that it runs, and waits until it may end.
std::int64_t Hold(const std::string& directory) {
  std::ofstream(directory + "/holds-" + std::to_string(getpid())).put('x');
  while (!std::filesystem::exists(directory + "/go")) usleep(1000);
  return getpid();
}

double SecondsUntilRunElsewhere(int signal) {
  bench::Cluster cluster(2, 1);
  cluster.Init();
  const auto holding = [&] {
    std::set<pid_t> pids;
    for (const auto& entry : std::filesystem::directory_iterator(cluster.directory()))
      if (const std::string name = entry.path().filename(); name.starts_with("holds-"))
        pids.insert(std::atoi(name.c_str() + 6));
    return pids;
  };
  std::vector<sheaf::ObjectRef<std::int64_t>> refs;
  for (int i = 0; i < 2; ++i) refs.push_back(sheaf::Task<Hold>({.retries = 10}).Remote(cluster.directory()));
  while (holding().size() < 2) usleep(1000);
  const std::vector<pid_t> machine = cluster.ProcessesOf(0);
  const auto begin = bench::NowNs();
  for (const pid_t pid : machine) kill(pid, signal);
  std::ofstream(cluster.directory() + "/go").put('x');
  for (const auto& ref : refs) {
    const auto pid = static_cast<pid_t>(bench::CheckedPid(ref.Get()));
    if (std::find(machine.begin(), machine.end(), pid) != machine.end()) bench::Die("a result of the dead machine");
  }
  const double seconds = static_cast<double>(bench::NowNs() - begin) / 1e9;
  for (const pid_t pid : machine) kill(pid, SIGKILL);
  sheaf::Shutdown();
  return seconds;
}

void Pool(bench::Report& report) {
  bench::Samples samples;
  for (const int signal : {SIGKILL, SIGSTOP, SIGKILL, SIGSTOP}) samples.Add(SecondsUntilRunElsewhere(signal));
  report.Add("fault.pool.s", samples);
}

void Scheduler(const char* program, bench::Report& report) {
  constexpr int kTasks = 100'000;
  bench::Cluster cluster(2, 1);
  cluster.Init();
  bench::WarmUp(100);
  std::vector<sheaf::ObjectRef<std::int64_t>> refs;
  refs.reserve(kTasks);
  for (std::int64_t i = 0; i < kTasks; ++i) refs.push_back(sheaf::Remote<bench::Noop>(bench::Argument{i}));
  const auto begin = bench::NowNs();
  cluster.KillScheduler();
  cluster.RestartScheduler();
  if (!bench::Shell(std::string(program) + " probe")) bench::Die("the new driver got no result");
  report.Add("fault.scheduler.ms", static_cast<double>(bench::NowNs() - begin) / 1e6);
  for (const auto& ref : refs) bench::CheckedPid(ref.Get());
  sheaf::Shutdown();
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  bench::Report report;
  if (mode == "pool") {
    Pool(report);
  } else if (mode == "scheduler") {
    Scheduler(argv[0], report);
  } else if (mode == "probe") {
    sheaf::Init();
    bench::CheckedPid(sheaf::Remote<bench::Noop>(bench::Argument{0}).Get());
    sheaf::Shutdown();
    return 0;
  } else {
    bench::Die("usage: faults pool|scheduler");
  }
  report.Print();
}
