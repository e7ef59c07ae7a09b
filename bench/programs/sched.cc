// The scheduler's decisions without a network: the real core under so many simulated pools.
//
// Half of the pools lend, half borrow; in each step a borrower reports as a pool does, gives back what it got last and
// wants one slot for each of four jobs. A lease is a slot granted.
//
//   -> sched.rate (leases/s), sched.bytes_per_pool (resident, with what the table of members holds)
//
// Usage: sched [--pools N] [--steps N]
#include <malloc.h>

#include "bench/measure.h"
#include "scheduler/scheduler_core.h"

namespace {

using namespace sheaf::scheduler;

std::size_t HeapInUse() { return mallinfo2().uordblks + mallinfo2().hblkhd; }

}  // namespace

int main(int argc, char** argv) {
  const auto pools = static_cast<std::size_t>(bench::Flag(argc, argv, "pools", std::int64_t{2000}));
  const std::int64_t steps = bench::Flag(argc, argv, "steps", std::int64_t{50'000});
  bench::Report report;
  const std::size_t before = HeapInUse();
  SchedulerCore::Config config;
  config.cluster_id = "c";
  config.limits.pools_max = pools;
  config.writes_max = pools;
  SchedulerCore core(config, {}, 0);
  std::uint64_t write = 0;
  for (std::size_t i = 0; i < pools; ++i) {
    RegisterArrived event;
    event.token = i;
    event.protocol = kProtocol;
    event.pool = {"machine-" + std::to_string(i),
                  1,
                  "machine-" + std::to_string(i) + ".example.org",
                  "/run/user/1000/sheaf/pool-" + std::to_string(i) + ".sock",
                  "0.1",
                  4711};
    event.load.slots = 64;
    event.offer.cpus_milli = 64'000;
    event.offer.address = i % 2 ? "10.0.0.1:40000" : "";
    core.OnEvent(event, 0);
    core.OnEvent(StoreDone{++write, true, ""}, 0);
  }
  std::vector<std::vector<GrantInfo>> held(pools);
  std::vector<std::uint64_t> sequence(pools, 0);
  const auto beat = [&](std::size_t i, bool wants) {
    HeartbeatArrived event;
    event.token = i;
    event.pool_id = "machine-" + std::to_string(i);
    event.incarnation = 1;
    event.epoch = config.epoch;
    event.sequence = ++sequence[i];
    event.load.slots = 64;
    for (std::uint64_t job = 1; wants && job <= 4; ++job) {
      LeaseWant want;
      want.job = job;
      want.slots = 1;
      event.report.wants.push_back(want);
    }
    for (const Action& action : core.OnEvent(event, 1))
      if (const auto* reply = std::get_if<ReplyHeartbeat>(&action)) held[i] = reply->grants;
  };
  for (std::size_t i = 0; i < pools; i += 2) beat(i, true);
  const std::size_t bytes = HeapInUse() - before;
  const std::uint64_t granted = core.placement().granted();
  const auto begin = bench::NowNs();
  for (std::int64_t step = 0; step < steps; ++step) {
    const std::size_t i = static_cast<std::size_t>(step) * 2 % pools;
    beat(i, true);  // names nothing held: all of it goes back, and is granted anew
  }
  const double seconds = static_cast<double>(bench::NowNs() - begin) / 1e9;
  report.Add("sched.rate", static_cast<double>(core.placement().granted() - granted) / seconds);
  report.Add("sched.bytes_per_pool", static_cast<double>(bytes) / static_cast<double>(pools));
  report.Print();
}
