// Tasks and objects between pools of one machine: a scheduler, a pool without workers for the driver, and others with.
//
//   sync       Remote<Noop>().Get() on a worker of another pool           -> net.task.sync.us
//   rate       no-op tasks over one pair of pools                         -> net.task.rate
//   transfer   1 GiB made on another pool, from there to Get here         -> net.transfer_1g.gbps, and the CPU of both machines:
//                                                                            .send_cpu_s, .receive_cpu_s
//   transfer_tls  the same under TLS                                      -> net.transfer_1g.tls.gbps, and the same
//   broadcast  256 MiB put once, read by a task on each of 2, 4, 8 pools, under TLS, each behind a link of 50 MB/s
//                                                                         -> net.broadcast_256m.s, by pools
//   reduce     8 arrays of 64 MiB made on 4 pools, added pair by pair by plain tasks, the sum read here; the same links
//                                                                         -> net.reduce_8x64m.s
//   lease      a task after the grant went back, and the first of a driver -> net.lease.us, net.lease.first.us
//
// Usage: net MODE [--count N]
#include <unistd.h>

#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "bench/programs/cluster.h"
#include "bench/programs/driver.h"
#include "bench/programs/process.h"

namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

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

double CpuSeconds(const std::vector<pid_t>& processes) {
  double seconds = 0;
  for (const pid_t pid : processes) seconds += bench::CpuSeconds(pid);
  return seconds;
}

// CPU of a machine: all of Sheaf's processes there, but the worker that makes the bytes, and here the driver that waits.
void Transfer(const bench::Cluster& cluster, std::int64_t count, const std::string& key, bench::Report& report) {
  bench::WarmUp(100);
  bench::Samples speed;
  std::vector<pid_t> there = cluster.ProcessesOf(0), here = cluster.ProcessesOf(-1);
  std::erase_if(there, [](pid_t pid) { return bench::Executable(pid) == bench::Executable(getpid()); });
  here.push_back(getpid());
  double cpu_there = 0, cpu_here = 0;
  for (std::int64_t i = 0; i <= count; ++i) {
    if (i == 1) cpu_there = CpuSeconds(there), cpu_here = CpuSeconds(here);
    const auto array = sheaf::Remote<Make>(1024 * kMiB, static_cast<int>(i)).Get();
    const auto done = bench::NowNs();
    std::int64_t made = 0;
    std::memcpy(&made, array.span().data(), sizeof made);
    if (array.span()[array.size() - 1] != static_cast<std::uint8_t>(i)) bench::Die("wrong bytes came");
    if (i > 0) speed.Add(1.073741824 / (static_cast<double>(done - made) / 1e9));
  }
  const auto each = static_cast<double>(count);
  report.Add(key, speed, 0.01);
  const std::string base = key.substr(0, key.rfind('.'));
  report.Add(base + ".send_cpu_s", (CpuSeconds(there) - cpu_there) / each);
  report.Add(base + ".receive_cpu_s", (CpuSeconds(here) - cpu_here) / each);
}

std::int64_t Touch(const sheaf::Array<std::uint8_t>& bytes) {
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < bytes.size(); i += 4096) sum += bytes.span()[i];
  bench::Keep(sum);
  return getpid();
}

// One task for each pool, by its label: left alone, two that read the same would both go where the first one's bytes are coming.
std::vector<sheaf::ObjectRef<std::int64_t>> TouchOnEach(int pools,
                                                        const sheaf::ObjectRef<sheaf::Array<std::uint8_t>>& bytes) {
  std::vector<sheaf::ObjectRef<std::int64_t>> refs;
  for (int i = 0; i < pools; ++i)
    refs.push_back(sheaf::Task<Touch>({.labels = {{"pool", "far" + std::to_string(i)}}}).Remote(bytes));
  return refs;
}

void Broadcast(int pools, const std::string& key, bench::Report& report) {
  const auto small = sheaf::Put(Make(4096, 1));
  for (const auto& ref : TouchOnEach(pools, small)) bench::CheckedPid(ref.Get());
  const auto big = sheaf::Put(Make(256 * kMiB, 3));
  const auto begin = bench::NowNs();
  std::set<std::int64_t> readers;
  for (const auto& ref : TouchOnEach(pools, big)) readers.insert(bench::CheckedPid(ref.Get()));
  report.Add(key, static_cast<double>(bench::NowNs() - begin) / 1e9);
  if (static_cast<int>(readers.size()) != pools) bench::Die("two of them ran on one pool");
}

sheaf::Array<std::uint8_t> Add(const sheaf::Array<std::uint8_t>& a, const sheaf::Array<std::uint8_t>& b) {
  sheaf::ArrayBuilder<std::uint8_t> out(a.size());
  for (std::size_t i = 0; i < a.size(); ++i) out.span()[i] = static_cast<std::uint8_t>(a.span()[i] + b.span()[i]);
  return std::move(out).Seal();
}
sheaf::Array<std::uint8_t> MakeSlowly(std::uint64_t bytes) {
  sheaf::ArrayBuilder<std::uint8_t> out(bytes);
  std::fill(out.span().begin(), out.span().end(), std::uint8_t{1});
  usleep(200'000);  // so that every pool makes two
  return std::move(out).Seal();
}

void Reduce(int pools, const std::string& key, bench::Report& report) {
  const auto level_of = [&](std::uint64_t bytes) {
    std::vector<sheaf::ObjectRef<sheaf::Array<std::uint8_t>>> made;
    for (int i = 0; i < 2 * pools; ++i) made.push_back(sheaf::Remote<MakeSlowly>(bytes));
    return made;
  };
  for (int i = 0; i < 3; ++i) sheaf::Wait(level_of(4096), 2 * static_cast<std::size_t>(pools));
  auto level = level_of(64 * kMiB);
  sheaf::Wait(level, level.size());
  const auto begin = bench::NowNs();
  while (level.size() > 1) {
    std::vector<sheaf::ObjectRef<sheaf::Array<std::uint8_t>>> up;
    for (std::size_t i = 0; i + 1 < level.size(); i += 2) up.push_back(sheaf::Remote<Add>(level[i], level[i + 1]));
    level = std::move(up);
  }
  const auto sum = level[0].Get();
  const double seconds = static_cast<double>(bench::NowNs() - begin) / 1e9;
  if (sum.span()[sum.size() - 1] != static_cast<std::uint8_t>(2 * pools)) bench::Die("a wrong sum came");
  report.Add(key, seconds);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  const std::int64_t count = bench::Flag(argc, argv, "count", std::int64_t{0});
  bench::Report report;
  if (mode == "sync" || mode == "rate" || mode == "transfer") {
    bench::Cluster cluster(1, 1);
    cluster.Init();
    if (mode == "sync") Sync(count ? count : 5000, report);
    if (mode == "rate") Rate(count ? count : 200'000, report);
    if (mode == "transfer") Transfer(cluster, count ? count : 3, "net.transfer_1g.gbps", report);
    sheaf::Shutdown();
  } else if (mode == "transfer_tls") {
    bench::Cluster cluster(1, 1, bench::Wire::kTls);
    const std::string key = "net.transfer_1g.tls.gbps";
    if (!cluster.ok()) {
      report.Missing(key, "network namespaces cannot be made here");
    } else {
      cluster.Init();
      Transfer(cluster, count ? count : 3, key, report);
      sheaf::Shutdown();
    }
  } else if (mode == "broadcast") {
    const int pools = static_cast<int>(count ? count : 2);
    bench::Cluster cluster(pools, 1, bench::Wire::kSlow);
    const std::string key = "net.broadcast_256m." + std::to_string(pools) + ".s";
    if (!cluster.ok()) {
      report.Missing(key, "network namespaces with throttled links cannot be made here");
    } else {
      cluster.Init();
      Broadcast(pools, key, report);
      sheaf::Shutdown();
    }
  } else if (mode == "reduce") {
    const int pools = static_cast<int>(count ? count : 4);
    bench::Cluster cluster(pools, 1, bench::Wire::kSlow);
    const std::string key = "net.reduce_8x64m.s";
    if (!cluster.ok()) {
      report.Missing(key, "network namespaces with throttled links cannot be made here");
    } else {
      cluster.Init();
      Reduce(pools, key, report);
      sheaf::Shutdown();
    }
  } else if (mode == "lease") {
    bench::Cluster cluster(1, 1);
    cluster.Init();
    bench::WarmUp(100);
    bench::Samples samples, first;
    sleep(7);  // many tasks at once are wished for during another five seconds: their grant stays so long
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
    bench::Die("usage: net sync|rate|transfer|transfer_tls|broadcast|reduce|lease [--count N]");
  }
  report.Print();
}
