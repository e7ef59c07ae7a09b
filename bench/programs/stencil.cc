// METG(50 %) of Sheaf for stencil_1d: every point is a task that takes refs to the points below it, so
// tasks are submitted before their inputs exist and the driver stays out of the way, but is included.
// -> task.metg_stencil_w<width>.us and the granularity of an empty kernel, task.empty_w<width>.us.
//
// Usage: stencil --width W [--workers N] [--steps N --iterations N]   with --steps one graph only, for a profiler
#include "bench/metg.h"
#include "bench/programs/driver.h"

namespace {

using bench::Point;
using Ref = sheaf::ObjectRef<Point>;

// Which point this is, and how much work.
struct Job {
  std::int32_t step = 0, column = 0;
  std::int64_t iterations = 0;
};

Point Compute(const Job& job) {
  bench::Keep(bench::ComputeKernel(job.iterations));
  return {job.step, job.column, static_cast<std::int32_t>(bench::OwnPid()), 0};
}
void Check(const Job& job, const Point& input, int column) {
  if (input.step != job.step - 1 || input.column != column) {
    throw sheaf::Error("an input is wrong");
  }
}

Point First(const Job& job) { return Compute(job); }
Point Two(const Job& job, const Point& a, const Point& b) {
  const int from = job.column > 0 ? job.column - 1 : 0;
  Check(job, a, from);
  Check(job, b, from + 1);
  return Compute(job);
}
Point Three(const Job& job, const Point& a, const Point& b, const Point& c) {
  Check(job, a, job.column - 1);
  Check(job, b, job.column);
  Check(job, c, job.column + 1);
  return Compute(job);
}

double Run(int width, std::int64_t iterations, std::int64_t steps) {
  const auto columns = static_cast<std::size_t>(width);
  std::vector<Ref> last(columns), next(columns);
  const auto begin = bench::NowNs();
  for (std::int32_t step = 0; step < steps; ++step) {
    for (std::int32_t column = 0; column < width; ++column) {
      const Job job = {step, column, iterations};
      const auto c = static_cast<std::size_t>(column);
      if (step == 0) {
        next[c] = sheaf::Remote<First>(job);
      } else if (c == 0) {
        next[c] = sheaf::Remote<Two>(job, last[0], last[1]);
      } else if (c + 1 == columns) {
        next[c] = sheaf::Remote<Two>(job, last[c - 1], last[c]);
      } else {
        next[c] = sheaf::Remote<Three>(job, last[c - 1], last[c], last[c + 1]);
      }
    }
    std::swap(last, next);
  }
  for (const Ref& ref : last) {
    const Point point = ref.Get();
    bench::CheckedPid(point.pid);
    if (point.step != steps - 1) bench::Die("a result is wrong");
  }
  return static_cast<double>(bench::NowNs() - begin) / 1e9;
}

}  // namespace

int main(int argc, char** argv) {
  const int width = static_cast<int>(bench::Flag(argc, argv, "width", std::int64_t{2}));
  const int workers = static_cast<int>(bench::Flag(argc, argv, "workers", std::int64_t{2}));
  if (width < 2) bench::Die("--width must be at least 2");
  const double ns_per_iteration = bench::NsPerIteration();
  bench::Start(workers);
  bench::WarmUp();
  if (const auto steps = bench::Flag(argc, argv, "steps", std::int64_t{0}); steps > 0) {
    const auto iterations = bench::Flag(argc, argv, "iterations", std::int64_t{0});
    for (int round = 0; round < 5; ++round) {
      const double us = Run(width, iterations, steps) * 1e6 * workers / static_cast<double>(steps * width);
      std::printf("granularity %.3f us, kernel %.3f us\n", us,
                  static_cast<double>(iterations) * ns_per_iteration / 1e3);
    }
    return 0;
  }
  const auto metg = bench::FindMetg(width, workers, ns_per_iteration, [&](std::int64_t iterations, std::int64_t steps) {
    return Run(width, iterations, steps);
  });
  bench::Report report;
  const std::string suffix = "_w" + std::to_string(width) + ".us";
  if (metg.us > 0) {
    report.Add("task.metg_stencil" + suffix, metg.us);
  } else {
    report.Missing("task.metg_stencil" + suffix, metg.reason);
  }
  report.Add("task.empty" + suffix, metg.empty_us);
  report.Print();
}
