// Tasks and objects between pools of one machine: a scheduler, a pool without workers for the driver, and others with.
//
//   sync       Remote<Noop>().Get() on a worker of another pool           -> net.task.sync.us
//   rate       no-op tasks over one pair of pools                         -> net.task.rate
//   transfer   1 GiB made on another pool, from there to Get here         -> net.transfer_1g.gbps
//   transfer_tls  the same under TLS                                      -> net.transfer_1g.tls.gbps
//   broadcast  256 MiB put once, read by a task on each of 2, 4, 8 pools, under TLS, each behind a link of 50 MB/s
//                                                                         -> net.broadcast_256m.s, by pools
//   lease      a task after the grant went back, and the first of a driver -> net.lease.us, net.lease.first.us
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

// kPlain: pools on the loopback interface. kTls: each in a namespace of its own. kSlow: behind links of 50 MB/s both ways.
enum class Wire { kPlain, kTls, kSlow };

bool Shell(const std::string& command) { return std::system((command + " >/dev/null 2>&1").c_str()) == 0; }

// Ends with the object: the supervisors are killed, and all they started dies with them.
class Cluster {
 public:
  Cluster(int pools, int workers, Wire wire = Wire::kPlain) : wire_(wire) {
    char name[] = "/tmp/sheaf-bench-net-XXXXXX";
    if (!mkdtemp(name)) bench::Die("mkdtemp failed");
    directory_ = name;
    setenv("XDG_RUNTIME_DIR", name, 1);
    setenv("XDG_STATE_HOME", name, 1);
    setenv("SHEAF_CACHE", (directory_ + "/programs").c_str(), 1);
    if (wire != Wire::kPlain) {
      ok_ = MakeHub() && MakeMachine("scheduler") && MakeMachine("near");
      for (int i = 0; i < pools && ok_; ++i) ok_ = MakeMachine("far" + std::to_string(i));
      if (!ok_) return;
    }
    Start("scheduler", {"scheduler", "start", "--listen", wire == Wire::kPlain ? "127.0.0.1:0" : "10.78.0.1:7400",
                        "--address-file", directory_ + "/scheduler"});
    const std::string scheduler = Await("scheduler");
    StartPool("near", 0, scheduler);
    for (int i = 0; i < pools; ++i) StartPool("far" + std::to_string(i), workers, scheduler);
    near_ = Await("near");
    for (int i = 0; i < pools; ++i) Await("far" + std::to_string(i));
  }
  ~Cluster() {
    for (const pid_t pid : processes_) kill(pid, SIGKILL);
    for (const pid_t pid : processes_) waitpid(pid, nullptr, 0);
    for (const std::string& machine : machines_) Shell("ip netns del " + NameOf(machine));
    [[maybe_unused]] const int removed = std::system(("rm -rf " + directory_).c_str());
  }
  void Init() {
    setenv("SHEAF_ADDRESS", near_.c_str(), 1);
    sheaf::Init();
  }
  bool ok() const { return ok_; }  // the machine can do this

 private:
  std::string NameOf(const std::string& machine) const { return "sb" + std::to_string(getpid()) + "-" + machine; }
  bool MakeHub() {
    machines_.push_back("hub");
    const std::string hub = NameOf("hub");
    return Shell("ip netns add " + hub) && Shell("ip -n " + hub + " link add br0 type bridge") &&
           Shell("ip -n " + hub + " link set br0 up");
  }
  bool MakeMachine(const std::string& machine) {
    const std::string hub = NameOf("hub"), own = NameOf(machine), port = "p" + std::to_string(machines_.size());
    const std::string address = "10.78.0." + std::to_string(machines_.size()) + "/24";
    const std::string shape = " root tbf rate 400mbit burst 256kb latency 50ms";
    machines_.push_back(machine);
    return Shell("ip netns add " + own) && Shell("ip -n " + own + " link set lo up") &&
           Shell("ip link add " + port + " netns " + hub + " type veth peer name eth0 netns " + own) &&
           Shell("ip -n " + hub + " link set " + port + " master br0 up") &&
           Shell("ip -n " + own + " addr add " + address + " dev eth0") &&
           Shell("ip -n " + own + " link set eth0 up") &&
           (wire_ == Wire::kTls || (Shell("tc -n " + own + " qdisc add dev eth0" + shape) &&
                                    Shell("tc -n " + hub + " qdisc add dev " + port + shape)));
  }
  void StartPool(const std::string& id, int workers, const std::string& scheduler) {
    std::vector<std::string> words{"pool", "start",   "--workers", std::to_string(workers), "--id",
                                   id,     "--store", "4GiB",      "--address-file",        directory_ + "/" + id};
    if (wire_ == Wire::kPlain) {
      words.insert(words.end(), {"--scheduler", scheduler});
    } else {
      const std::string invitation = directory_ + "/" + id + ".invitation";
      if (!Shell(std::string(std::getenv("SHEAF_BIN")) + " token create --out " + invitation))
        bench::Die("no invitation could be made");
      words.insert(words.end(), {"--join", scheduler, "--token-file", invitation});
    }
    Start(id, std::move(words));
  }
  void Start(const std::string& machine, std::vector<std::string> words) {
    words.insert(words.begin(), std::getenv("SHEAF_BIN"));
    if (wire_ != Wire::kPlain) {
      const std::vector<std::string> inside{"/usr/bin/env", "ip", "netns", "exec", NameOf(machine)};
      words.insert(words.begin(), inside.begin(), inside.end());
    }
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
  const Wire wire_;
  bool ok_ = true;
  std::vector<std::string> machines_;
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

void Transfer(std::int64_t count, const std::string& key, bench::Report& report) {
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
  report.Add(key, speed, 0.01);
}

std::int64_t Touch(const sheaf::Array<std::uint8_t>& bytes) {
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < bytes.size(); i += 4096) sum += bytes.span()[i];
  bench::Keep(sum);
  usleep(20'000);  // so that every pool gets one
  return getpid();
}

void Broadcast(int pools, const std::string& key, bench::Report& report) {
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
    if (mode == "transfer") Transfer(count ? count : 3, "net.transfer_1g.gbps", report);
    sheaf::Shutdown();
  } else if (mode == "transfer_tls") {
    Cluster cluster(1, 1, Wire::kTls);
    const std::string key = "net.transfer_1g.tls.gbps";
    if (!cluster.ok()) {
      report.Missing(key, "network namespaces cannot be made here");
    } else {
      cluster.Init();
      Transfer(count ? count : 3, key, report);
      sheaf::Shutdown();
    }
  } else if (mode == "broadcast") {
    const int pools = static_cast<int>(count ? count : 2);
    Cluster cluster(pools, 1, Wire::kSlow);
    const std::string key = "net.broadcast_256m." + std::to_string(pools) + ".s";
    if (!cluster.ok()) {
      report.Missing(key, "network namespaces with throttled links cannot be made here");
    } else {
      cluster.Init();
      Broadcast(pools, key, report);
      sheaf::Shutdown();
    }
  } else if (mode == "lease") {
    Cluster cluster(1, 1);
    cluster.Init();
    bench::WarmUp(100);
    bench::Samples samples, first;
    for (std::int64_t i = 0; i < (count ? count : 8); ++i) {
      sleep(2);  // a grant that is not wanted goes back after a second
      const auto begin = bench::NowNs();
      bench::CheckedPid(sheaf::Remote<bench::Noop>(bench::Argument{i}).Get());
      samples.Add(static_cast<double>(bench::NowNs() - begin) / 1e3);
    }
    sheaf::Shutdown();
    for (std::int64_t i = 0; i < 5; ++i) {
      cluster.Init();
      const auto begin = bench::NowNs();
      bench::CheckedPid(sheaf::Remote<bench::Noop>(bench::Argument{i}).Get());
      first.Add(static_cast<double>(bench::NowNs() - begin) / 1e3);
      sheaf::Shutdown();
    }
    report.Add("net.lease.first.us", first);
    report.Add("net.lease.us", samples);
  } else {
    bench::Die("usage: net sync|rate|transfer|transfer_tls|broadcast|lease [--count N]");
  }
  report.Print();
}
