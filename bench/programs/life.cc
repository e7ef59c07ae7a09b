// The life and death of workers. A new process, and so a new pool, for each round.
//
//   first     Init until the first task returned, of that the new worker; then the idle worker
//             -> init.ms, worker.start.ms, worker.threads, worker.rss_kb
//   killed    a worker killed -9 in the middle of a task
//             -> fault.detect.ms (until Get of a task without retries throws)
//             -> fault.rerun.ms  (until Get of a task with a retry returns)
//
// Usage: life first|killed [--count N]
#include <sys/stat.h>

#include <csignal>

#include "bench/programs/driver.h"
#include "bench/programs/process.h"

namespace {

void First(bench::Report& report) {
  const auto begin = bench::NowNs();
  bench::Start(2);
  const auto attached = bench::NowNs();
  const bool early = !bench::WorkerProcesses().empty();
  const auto looked = bench::NowNs();
  const auto pid = bench::CheckedPid(sheaf::Remote<bench::Noop>(bench::Argument{}).Get());
  const auto done = bench::NowNs();
  report.Add("init.ms", static_cast<double>(done - begin - (looked - attached)) / 1e6);
  if (early) {
    report.Missing("worker.start.ms", "a worker was started before its lease");
  } else {
    report.Add("worker.start.ms", static_cast<double>(done - looked) / 1e6);
  }
  usleep(50'000);  // it is idle now
  const auto worker = static_cast<pid_t>(pid);
  report.Add("worker.threads", static_cast<double>(bench::FieldOf(bench::ProcPath(worker, "status"), "Threads")));
  report.Add("worker.rss_kb", static_cast<double>(bench::PrivateKb(worker)));
}

// The first attempt says who it is and waits to be killed; the next one finds the file and returns.
std::int64_t WaitToBeKilled(const std::string& file) {
  if (access(file.c_str(), F_OK) == 0) return getpid();
  const std::string draft = file + ".draft";
  std::ofstream(draft) << getpid() << std::flush;
  rename(draft.c_str(), file.c_str());
  for (;;) bench::Keep(getppid());
}

pid_t VictimOf(const std::string& file) {
  const auto begin = bench::NowNs();
  while (bench::NowNs() - begin < 10'000'000'000) {
    pid_t pid = 0;
    if (std::ifstream(file) >> pid) return pid;
    usleep(200);
  }
  bench::Die("the task did not begin within 10 s");
}

void Killed(std::int64_t count, bench::Report& report) {
  char folder[] = "/tmp/sheaf-bench-XXXXXX";
  if (!mkdtemp(folder)) bench::Die("mkdtemp failed");
  bench::Samples detect, rerun;
  for (std::int64_t i = 0; i < 2 * count; ++i) {
    const bool retry = i % 2 == 1;
    const std::string file = std::string(folder) + "/" + std::to_string(i);
    const auto ref = sheaf::Task<WaitToBeKilled>({.retries = retry ? 1 : 0}).Remote(file);
    const pid_t victim = VictimOf(file);
    usleep(5'000);  // Get sleeps by then, as it would in the middle of a long task
    const auto begin = bench::NowNs();
    if (kill(victim, SIGKILL) != 0) bench::Die("the worker was gone already");
    try {
      const auto pid = ref.Get(std::chrono::seconds(20));
      const auto ms = static_cast<double>(bench::NowNs() - begin) / 1e6;
      if (!retry || bench::CheckedPid(pid) == victim) bench::Die("a killed task returned");
      rerun.Add(ms);
    } catch (const sheaf::WorkerDiedError&) {
      if (retry) throw;
      detect.Add(static_cast<double>(bench::NowNs() - begin) / 1e6);
    }
    unlink(file.c_str());
    bench::WarmUp(20);  // the pool still works
  }
  rmdir(folder);
  report.Add("fault.detect.ms", detect);
  report.Add("fault.rerun.ms", rerun);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  bench::Report report;
  if (mode == "first") {
    First(report);
  } else if (mode == "killed") {
    bench::Start(2);
    bench::WarmUp();
    Killed(bench::Flag(argc, argv, "count", std::int64_t{20}), report);
  } else {
    bench::Die("usage: life first|killed [--count N]");
  }
  report.Print();
}
