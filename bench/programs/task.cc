// Tasks that do nothing: what a call costs.
//
//   sync      Remote<Noop>().Get() in a loop                      -> task.sync.us
//   asleep    the same after 10 ms of silence                     -> task.sync_asleep.us
//   rate      tasks submitted, then all got; one worker           -> task.rate_1x1, tasks/s
//   ref       each task takes a ref to the result before it       -> task.rate_ref, tasks/s
//   nested    one task submits no-op tasks and gets them          -> task.rate_nested, tasks/s
//
// Usage: task MODE [--count N] [--workers N]
#include "bench/programs/driver.h"

namespace {

using bench::Argument;

std::int64_t Next(std::int64_t before, const Argument& argument) {
  bench::Keep(before + argument[0]);
  return bench::OwnPid();
}

struct Nested {
  std::int64_t ns = 0, pid = 0, least_pid = 0;
};

Nested SubmitInside(std::int64_t count) {
  std::vector<sheaf::ObjectRef<std::int64_t>> refs;
  refs.reserve(static_cast<std::size_t>(count));
  const auto begin = bench::NowNs();
  for (std::int64_t i = 0; i < count; ++i) {
    refs.push_back(sheaf::Remote<bench::Noop>(Argument{i, 0, 0, 0}));
  }
  std::int64_t least = INT64_MAX;
  for (const auto& ref : refs) least = std::min(least, ref.Get());
  return {bench::NowNs() - begin, getpid(), least};
}

void Sync(bool asleep, std::int64_t count, bench::Report& report) {
  bench::Samples samples(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) {
    if (asleep) usleep(10'000);
    const auto begin = bench::NowNs();
    const auto pid = sheaf::Remote<bench::Noop>(Argument{i, 0, 0, 0}).Get();
    samples.Add(static_cast<double>(bench::NowNs() - begin) / 1e3);
    bench::CheckedPid(pid);
  }
  report.Add(asleep ? "task.sync_asleep.us" : "task.sync.us", samples);
}

void Rate(bool chain, std::int64_t count, bench::Report& report) {
  bench::Samples rates;
  for (int repeat = 0; repeat < 5; ++repeat) {
    std::vector<sheaf::ObjectRef<std::int64_t>> refs;
    refs.reserve(static_cast<std::size_t>(count));
    const auto begin = bench::NowNs();
    for (std::int64_t i = 0; i < count; ++i) {
      const Argument argument = {i, 0, 0, 0};
      if (chain && i > 0) {
        refs.push_back(sheaf::Remote<Next>(refs.back(), argument));
      } else {
        refs.push_back(sheaf::Remote<bench::Noop>(argument));
      }
    }
    for (const auto& ref : refs) bench::CheckedPid(ref.Get());
    rates.Add(static_cast<double>(count) * 1e9 / static_cast<double>(bench::NowNs() - begin));
  }
  report.Add(chain ? "task.rate_ref" : "task.rate_1x1", rates, 0.01);
}

void RateNested(std::int64_t count, bench::Report& report) {
  bench::Samples rates;
  for (int repeat = 0; repeat < 9; ++repeat) {
    const Nested nested = sheaf::Remote<SubmitInside>(count).Get();
    bench::CheckedPid(nested.pid);
    if (nested.least_pid == getpid()) bench::Die("a nested task ran in the driver");
    rates.Add(static_cast<double>(count) * 1e9 / static_cast<double>(nested.ns));
  }
  report.Add("task.rate_nested", rates, 0.01);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  const auto count = [&](std::int64_t otherwise) { return bench::Flag(argc, argv, "count", otherwise); };
  bench::Start(bench::Flag(argc, argv, "workers", std::int64_t{mode == "nested" ? 2 : 1}));
  bench::WarmUp(2000);
  bench::Report report;
  if (mode == "sync") {
    Sync(false, count(50'000), report);
  } else if (mode == "asleep") {
    Sync(true, count(60), report);
  } else if (mode == "rate" || mode == "ref") {
    Rate(mode == "ref", count(100'000), report);
  } else if (mode == "nested") {
    RateNested(count(10'000), report);
  } else {
    bench::Die("usage: task sync|asleep|rate|ref|nested [--count N] [--workers N]");
  }
  report.Print();
}
