// A scheduler process and thousands of pools that have nothing but their line to it: real connections, one for each, with the
// real client. Every pool reports once a second. First they only report; then every other one borrows a slot in one
// report and gives it back in the next. What a lease costs holds the reports that it takes.
//
//   for N in 250, 500, 1000, 2000 pools:
//     -> sched.hollow.N.messages_s, .bytes_s (both ways, with all headers), .cpu (of one core, while leasing),
//        .us_per_message (scheduler's CPU, only reporting), .us_per_lease, .bytes_per_pool (resident)
//
// Usage: hollow [--pools N] [--seconds N]
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <memory>
#include <thread>

#include "bench/measure.h"
#include "bench/programs/process.h"
#include "scheduler/scheduler_client.h"

namespace {

using namespace sheaf::scheduler;
using std::chrono::milliseconds;

constexpr unsigned kThreads = 8;

class SchedulerProcess {
 public:
  SchedulerProcess() {
    char name[] = "/tmp/sheaf-bench-hollow-XXXXXX";
    if (!mkdtemp(name)) bench::Die("mkdtemp failed");
    directory_ = name;
    pid_ = fork();
    if (pid_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      setenv("XDG_RUNTIME_DIR", name, 1);
      setenv("XDG_STATE_HOME", name, 1);
      const std::string file = directory_ + "/address";
      if (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr)) _exit(1);
      // So many take a while to register one after the other.
      execl(std::getenv("SHEAF_BIN"), "sheaf", "scheduler", "start", "--listen", "127.0.0.1:0", "--lost-after", "60",
            "--address-file", file.c_str(), nullptr);
      _exit(127);
    }
    for (int i = 0; i < 2000 && address.empty(); ++i) {
      std::getline(std::ifstream(directory_ + "/address"), address);
      if (address.empty()) usleep(5'000);
    }
    if (address.empty()) bench::Die("the scheduler did not start");
  }
  ~SchedulerProcess() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    [[maybe_unused]] const int removed = std::system(("rm -rf " + directory_).c_str());
  }
  double CpuSeconds() const { return bench::CpuSeconds(pid_); }
  double ResidentBytes() const {
    std::ifstream statm("/proc/" + std::to_string(pid_) + "/statm");
    double size = 0, resident = 0;
    statm >> size >> resident;
    return resident * static_cast<double>(sysconf(_SC_PAGESIZE));
  }
  std::string address;

 private:
  std::string directory_;
  pid_t pid_ = 0;
};

double LoopbackBytes() {
  std::ifstream devices("/proc/net/dev");
  for (std::string line; std::getline(devices, line);) {
    if (line.find("lo:") == std::string::npos) continue;
    return std::strtod(line.c_str() + line.find(':') + 1, nullptr);
  }
  return 0;
}

class HollowPool {
 public:
  HollowPool(const ListenAddress& address, int number) : client_(address), id_("hollow-" + std::to_string(number)) {
    RegisterArrived event;
    event.protocol = kProtocol;
    event.pool = {id_, 1, id_ + ".example.org", "/run/user/1000/sheaf/pool.sock", "0.1", 4711};
    event.load.slots = 64;
    event.offer.cpus_milli = 64'000;
    event.offer.address = "10.0.0.1:40000";
    RegisterResult result;
    const CallStatus status = client_.Register(event, milliseconds(20'000), &result);
    if (!status.ok() || result.verdict != Verdict::kOk)
      bench::Die("a pool could not register: " + status.message + result.reason);
    epoch_ = result.epoch;
  }
  // True: it was granted the slot that it wanted.
  bool Report(bool leases) {
    HeartbeatArrived event;
    event.pool_id = id_;
    event.incarnation = 1;
    event.epoch = epoch_;
    event.sequence = ++sequence_;
    event.load.slots = 64;
    const bool wants = leases && sequence_ % 2 == 0;
    if (wants) {
      LeaseWant want;
      want.job = 1;
      want.slots = 1;
      event.report.wants.push_back(want);
    }
    HeartbeatResult result;
    const CallStatus status = client_.Heartbeat(event, milliseconds(20'000), &result);
    if (!status.ok() || result.verdict != Verdict::kOk)
      bench::Die("a report was not taken: " + status.message + result.reason);
    return wants && !result.grants.empty();
  }

 private:
  SchedulerClient client_;
  const std::string id_;
  std::uint64_t epoch_ = 0, sequence_ = 0;
};

struct Phase {
  double messages_s = 0, bytes_s = 0, cpu_s = 0, leases_s = 0;  // each for a second
};

Phase Run(const SchedulerProcess& scheduler, std::vector<std::unique_ptr<HollowPool>>& pools, bool lease, int seconds) {
  std::atomic<std::int64_t> messages{0}, leases{0};
  const double cpu = scheduler.CpuSeconds(), bytes = LoopbackBytes();
  const auto begin = bench::NowNs();
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      // Spread over the second, as pools that started at different times are.
      const std::int64_t share = static_cast<std::int64_t>(pools.size() / kThreads);
      for (std::int64_t i = 0; i < share * seconds; ++i) {
        const std::int64_t due = begin + i * 1'000'000'000 / share;
        if (const std::int64_t now = bench::NowNs(); now < due) usleep(static_cast<useconds_t>((due - now) / 1000));
        leases += pools[static_cast<std::size_t>(i % share) * kThreads + t]->Report(lease && t % 2 == 0);
        ++messages;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const double elapsed = static_cast<double>(bench::NowNs() - begin) / 1e9;
  return {static_cast<double>(messages) / elapsed, (LoopbackBytes() - bytes) / elapsed,
          (scheduler.CpuSeconds() - cpu) / elapsed, static_cast<double>(leases) / elapsed};
}

void Measure(int count, int seconds, bench::Report& report) {
  const SchedulerProcess scheduler;
  const double resident = scheduler.ResidentBytes();
  const ListenAddress address = ParseListenAddress(scheduler.address);
  std::vector<std::unique_ptr<HollowPool>> pools;
  for (int i = 0; i < count; ++i) pools.push_back(std::make_unique<HollowPool>(address, i));
  Run(scheduler, pools, true, 1);  // warm
  const Phase reports = Run(scheduler, pools, false, seconds), leases = Run(scheduler, pools, true, seconds);
  if (leases.leases_s <= 0) bench::Die("nothing was granted");
  const std::string key = "sched.hollow." + std::to_string(count) + ".";
  report.Add(key + "messages_s", leases.messages_s);
  report.Add(key + "bytes_s", leases.bytes_s);
  report.Add(key + "cpu", leases.cpu_s);
  report.Add(key + "us_per_message", reports.cpu_s / reports.messages_s * 1e6);
  report.Add(key + "us_per_lease", leases.cpu_s / leases.leases_s * 1e6);
  report.Add(key + "bytes_per_pool", (scheduler.ResidentBytes() - resident) / count);
}

}  // namespace

int main(int argc, char** argv) {
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  const auto only = static_cast<int>(bench::Flag(argc, argv, "pools", std::int64_t{0}));
  const auto seconds = static_cast<int>(bench::Flag(argc, argv, "seconds", std::int64_t{5}));
  bench::Report report;
  for (const int count : {250, 500, 1000, 2000})
    if (only == 0 || only == count) Measure(count, seconds, report);
  if (only != 0 && only != 250 && only != 500 && only != 1000 && only != 2000) Measure(only, seconds, report);
  report.Print();
}
