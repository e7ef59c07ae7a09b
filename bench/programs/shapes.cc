// Shapes of work beyond the plain call.
//
//   depth     recursion 1,000 deep, each level gets its child    -> task.nested_depth.us, a level
//   complete  10 k results in order of completion                -> task.wait_10k.ms
//   big       a task that reads one float of a 1 GiB object      -> task.big_arg.us
//   queued    1 M tasks queued behind a busy worker, then drained
//             -> task.queued_1m.bytes (all processes, a task), task.queued_1m.s
//
// Usage: shapes MODE [--count N]
#include "bench/programs/driver.h"
#include "bench/programs/process.h"

namespace {

struct Level {
  std::int64_t depth = 0, pid = 0;
};

Level Recurse(std::int64_t left) {
  if (left <= 1) return {1, bench::OwnPid()};
  const Level below = sheaf::Remote<Recurse>(left - 1).Get();
  return {below.depth + 1, bench::OwnPid()};
}

void Depth(std::int64_t count, bench::Report& report) {
  bench::Samples samples;
  for (int i = 0; i < 5; ++i) {
    const auto begin = bench::NowNs();
    const Level level = sheaf::Remote<Recurse>(count).Get();
    samples.Add(static_cast<double>(bench::NowNs() - begin) / 1e3 / static_cast<double>(count));
    bench::CheckedPid(level.pid);
    if (level.depth != count) bench::Die("a level is missing");
    if (bench::WorkerProcesses().size() > 8) bench::Die("more than 8 workers");
  }
  report.Add("task.nested_depth.us", samples);
}

void Complete(std::int64_t count, bench::Report& report) {
  bench::Samples samples;
  for (int i = 0; i < 7; ++i) {
    const auto begin = bench::NowNs();
    sheaf::Completions<std::int64_t> completions;
    for (std::int64_t k = 0; k < count; ++k) {
      completions.Add(sheaf::Remote<bench::Noop>(bench::Argument{k, 0, 0, 0}));
    }
    std::int64_t seen = 0;
    while (const auto next = completions.Next()) {
      bench::CheckedPid(next->second.Get());
      ++seen;
    }
    if (seen != count) bench::Die("a result is missing");
    samples.Add(static_cast<double>(bench::NowNs() - begin) / 1e6);
  }
  report.Add("task.wait_10k.ms", samples);
}

std::int64_t ReadOne(const sheaf::Array<float>& array) {
  bench::Keep(array[array.size() / 2]);
  return bench::OwnPid();
}

void Big(std::int64_t count, bench::Report& report) {
  const auto ref = sheaf::Put(sheaf::ArrayBuilder<float>(std::size_t{1} << 28, 1.0f).Seal());
  for (int i = 0; i < 100; ++i) bench::CheckedPid(sheaf::Remote<ReadOne>(ref).Get());
  bench::Samples samples;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto begin = bench::NowNs();
    const auto pid = sheaf::Remote<ReadOne>(ref).Get();
    samples.Add(static_cast<double>(bench::NowNs() - begin) / 1e3);
    bench::CheckedPid(pid);
  }
  report.Add("task.big_arg.us", samples);
}

std::int64_t WaitFor(const std::string& file) {
  while (access(file.c_str(), F_OK) != 0) usleep(500);
  return bench::OwnPid();
}

void Queued(std::int64_t count, bench::Report& report) {
  const std::string file = "/tmp/sheaf-bench-" + std::to_string(getpid());
  std::vector<sheaf::ObjectRef<std::int64_t>> refs;
  refs.reserve(static_cast<std::size_t>(count));
  const auto gate = sheaf::Remote<WaitFor>(file);
  const long before = bench::PssKb(bench::Family());
  const auto begin = bench::NowNs();
  for (std::int64_t i = 0; i < count; ++i) {
    refs.push_back(sheaf::Remote<bench::Noop>(bench::Argument{i, 0, 0, 0}));
  }
  const auto submitted = bench::NowNs();
  const long after = bench::PssKb(bench::Family());
  std::ofstream(file) << "go";
  const auto opened = bench::NowNs();
  bench::CheckedPid(gate.Get());
  for (const auto& ref : refs) bench::CheckedPid(ref.Get());
  const auto done = bench::NowNs();
  unlink(file.c_str());
  report.Add("task.queued_1m.bytes", static_cast<double>(after - before) * 1024 / static_cast<double>(count));
  report.Add("task.queued_1m.s", static_cast<double>(submitted - begin + done - opened) / 1e9);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  const auto count = [&](std::int64_t otherwise) { return bench::Flag(argc, argv, "count", otherwise); };
  bench::Start(mode == "depth" || mode == "complete" ? 2 : 1);
  bench::WarmUp();
  bench::Report report;
  if (mode == "depth") {
    Depth(count(1000), report);
  } else if (mode == "complete") {
    Complete(count(10'000), report);
  } else if (mode == "big") {
    Big(count(5000), report);
  } else if (mode == "queued") {
    Queued(count(1'000'000), report);
  } else {
    bench::Die("usage: shapes depth|complete|big|queued [--count N]");
  }
  report.Print();
}
