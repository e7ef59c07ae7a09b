// Tasks and objects between pools of one machine: a scheduler, a pool without workers for the driver, and others with.
//
//   sync       Remote<Noop>().Get() on a worker of another pool           -> net.task.sync.us
//   rate       no-op tasks over one pair of pools                         -> net.task.rate
//   transfer   1 GiB made on another pool, from there to Get here         -> net.transfer_1g.gbps
//   broadcast  256 MiB put once, read by a task on each of 2, 4, 8 pools  -> net.broadcast_256m.s, by pools
//   lease      first task of a new driver on a warm cluster               -> net.lease.us
//
// Usage: net MODE [--count N]
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <cstring>
#include <fstream>
#include <set>
#include <vector>

#include "bench/programs/driver.h"

namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

// Ends with the object: the supervisors are killed, and all they started dies with them.
class Cluster {
 public:
  explicit Cluster(int pools, int workers) {
    char name[] = "/tmp/sheaf-bench-net-XXXXXX";
    if (!mkdtemp(name)) bench::Die("mkdtemp failed");
    directory_ = name;
    setenv("XDG_RUNTIME_DIR", name, 1);
    setenv("XDG_STATE_HOME", name, 1);
    setenv("SHEAF_CACHE", (directory_ + "/programs").c_str(), 1);
    Start({"scheduler", "start", "--listen", "127.0.0.1:0", "--address-file", directory_ + "/scheduler"});
    const std::string scheduler = Await("scheduler");
    StartPool("near", 0, scheduler);
    for (int i = 0; i < pools; ++i) StartPool("far" + std::to_string(i), workers, scheduler);
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

 private:
  void StartPool(const std::string& id, int workers, const std::string& scheduler) {
    Start({"pool", "start", "--workers", std::to_string(workers), "--id", id, "--store", "4GiB", "--scheduler",
           scheduler, "--address-file", directory_ + "/" + id});
  }
  void Start(std::vector<std::string> words) {
    words.insert(words.begin(), std::getenv("SHEAF_BIN"));
    const pid_t pid = fork();
    if (pid == 0) {
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
    bench::Die(file + " did not start");
  }
  std::string directory_, near_;
  std::vector<pid_t> processes_;
};

void Sync(std::int64_t count, bench::Report& report) {
  bench::WarmUp(2000);
  bench::Samples samples;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto begin = bench::NowNs();
    bench::CheckedPid(sheaf::Remote<bench::Noop>(bench::Argument{i}).Get());
    samples.Add(static_cast<double>(bench::NowNs() - begin) / 1e3);
  }
  report.Add("net.task.sync.us", samples);
}

void Rate(std::int64_t count, bench::Report& report) {
  bench::WarmUp(2000);
  std::vector<sheaf::ObjectRef<std::int64_t>> refs;
  refs.reserve(static_cast<std::size_t>(count));
  const auto begin = bench::NowNs();
  for (std::int64_t i = 0; i < count; ++i) refs.push_back(sheaf::Remote<bench::Noop>(bench::Argument{i}));
  for (const auto& ref : refs) bench::CheckedPid(ref.Get());
  report.Add("net.task.rate", static_cast<double>(count) / (static_cast<double>(bench::NowNs() - begin) / 1e9));
}

sheaf::Array<std::uint8_t> Make(std::uint64_t bytes, int value) {
  sheaf::ArrayBuilder<std::uint8_t> out(bytes);
  std::fill(out.span().begin(), out.span().end(), static_cast<std::uint8_t>(value));
  // When it was complete: the clock is that of all processes of a machine.
  const std::int64_t now = bench::NowNs();
  std::memcpy(out.span().data(), &now, sizeof now);
  return std::move(out).Seal();
}

void Transfer(std::int64_t count, bench::Report& report) {
  bench::WarmUp(100);
  bench::Samples speed;
  for (std::int64_t i = 0; i <= count; ++i) {
    const auto array = sheaf::Remote<Make>(1024 * kMiB, static_cast<int>(i)).Get();
    const auto done = bench::NowNs();
    std::int64_t made = 0;
    std::memcpy(&made, array.span().data(), sizeof made);
    if (array.span()[array.size() - 1] != static_cast<std::uint8_t>(i)) bench::Die("wrong bytes came");
    if (i > 0) speed.Add(1.073741824 / (static_cast<double>(done - made) / 1e9));
  }
  report.Add("net.transfer_1g.gbps", speed, 0.01);
}

std::int64_t Touch(const sheaf::Array<std::uint8_t>& bytes) {
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < bytes.size(); i += 4096) sum += bytes.span()[i];
  bench::Keep(sum);
  usleep(20'000);  // so that every pool gets one
  return getpid();
}

void Broadcast(int pools, bench::Report& report) {
  std::set<std::int64_t> warm;
  for (int i = 0; i < 200 && static_cast<int>(warm.size()) < pools; ++i) {
    std::vector<sheaf::ObjectRef<std::int64_t>> refs;
    const auto small = sheaf::Put(Make(4096, 1));
    for (int k = 0; k < 2 * pools; ++k) refs.push_back(sheaf::Remote<Touch>(small));
    for (const auto& ref : refs) warm.insert(ref.Get());
  }
  const auto big = sheaf::Put(Make(256 * kMiB, 3));
  const auto begin = bench::NowNs();
  std::vector<sheaf::ObjectRef<std::int64_t>> refs;
  for (int k = 0; k < pools; ++k) refs.push_back(sheaf::Remote<Touch>(big));
  std::set<std::int64_t> readers;
  for (const auto& ref : refs) readers.insert(bench::CheckedPid(ref.Get()));
  const std::string key = "net.broadcast_256m." + std::to_string(pools) + ".s";
  if (static_cast<int>(readers.size()) < pools) return report.Missing(key, "not every pool got a task");
  report.Add(key, static_cast<double>(bench::NowNs() - begin) / 1e9);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  const std::int64_t count = bench::Flag(argc, argv, "count", std::int64_t{0});
  bench::Report report;
  if (mode == "sync" || mode == "rate" || mode == "transfer") {
    Cluster cluster(1, 1);
    cluster.Init();
    if (mode == "sync") Sync(count ? count : 5000, report);
    if (mode == "rate") Rate(count ? count : 200'000, report);
    if (mode == "transfer") Transfer(count ? count : 3, report);
    sheaf::Shutdown();
  } else if (mode == "broadcast") {
    const int pools = static_cast<int>(count ? count : 2);
    Cluster cluster(pools, 1);
    cluster.Init();
    Broadcast(pools, report);
    sheaf::Shutdown();
  } else if (mode == "lease") {
    Cluster cluster(1, 1);
    bench::Samples samples;
    for (std::int64_t i = 0; i < (count ? count : 10); ++i) {
      cluster.Init();
      const auto begin = bench::NowNs();
      bench::CheckedPid(sheaf::Remote<bench::Noop>(bench::Argument{i}).Get());
      if (i > 0) samples.Add(static_cast<double>(bench::NowNs() - begin) / 1e3);
      sheaf::Shutdown();
    }
    report.Add("net.lease.us", samples);
  } else {
    bench::Die("usage: net sync|rate|transfer|broadcast|lease [--count N]");
  }
  report.Print();
}
