// METG(50 %): the smallest task with which a system still does half of the useful work that the
// machine could do (Slaughter et al., "Task Bench", SC'20, defines it; the program here is our own).
//
// A graph of `width` columns and many steps runs again and again with an ever smaller kernel. The
// granularity of a run is wall time x cores / tasks; its efficiency is the time that the kernels alone
// would take over that. METG is the granularity at 50 %, interpolated between the two sizes around it.
// METG_SWEEP=1 in the environment shows every size on stderr.
// Sheaf's program and the OpenMPI program share this file: the same kernel, sweep and definition.
#pragma once

#include <functional>
#include <vector>

#include "bench/measure.h"

namespace bench {

// 12 independent chains of fused multiply-adds on 4 doubles: 96 FLOP an iteration, no memory.
using Vector = double __attribute__((vector_size(32)));
#if defined(__x86_64__)
__attribute__((target("avx2,fma"), noinline))
#endif
inline double
ComputeKernel(std::int64_t iterations) {
  constexpr int kChains = 12;
  Vector chain[kChains];
  for (int c = 0; c < kChains; ++c) chain[c] = Vector{1.0, 1.1, 1.2, 1.3} * (1.0 + c);
  const Vector factor = {0.999, 0.998, 0.997, 0.996}, addend = {1e-3, 2e-3, 3e-3, 4e-3};
  for (std::int64_t i = 0; i < iterations; ++i) {
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) chain[c] = chain[c] * factor + addend;
  }
  Vector sum = chain[0];
  for (int c = 1; c < kChains; ++c) sum += chain[c];
  return sum[0] + sum[1] + sum[2] + sum[3];
}

// What a point of the graph hands to its neighbours of the next step: 16 bytes.
struct Point {
  std::int32_t step = 0, column = 0;
  std::int32_t pid = 0, unused = 0;
};

struct Stencil {
  int width = 2;
  // The columns of the step before that column `c` takes: c - 1, c, c + 1, inside the graph.
  int First(int column) const { return column > 0 ? column - 1 : 0; }
  int Last(int column) const { return column + 1 < width ? column + 1 : column; }
};

// Nanoseconds of one iteration on an otherwise idle core: the least of several runs.
inline double NsPerIteration() {
  double least = 1e9;
  for (int i = 0; i < 7; ++i) {
    const auto begin = NowNs();
    Keep(ComputeKernel(1 << 16));
    least = std::min(least, static_cast<double>(NowNs() - begin) / (1 << 16));
  }
  return least;
}

struct Metg {
  double us = 0;        // 0: efficiency never crossed 50 %
  double empty_us = 0;  // granularity of an empty kernel
  std::string reason;   // why us is 0
};

// `run(iterations, steps)` runs the graph and returns seconds of wall time. Each size is run three
// times and the fastest counts: what disturbs a run only ever adds to it.
inline Metg FindMetg(int width, int cores, double ns_per_iteration,
                     const std::function<double(std::int64_t, std::int64_t)>& run, double seconds_a_run = 0.025) {
  double guess_ns = 20'000;  // of a task's granularity, to choose the number of steps
  const auto granularity = [&](std::int64_t iterations) {
    double least = 0;
    for (int repeat = 0; repeat < 3; ++repeat) {
      const auto steps =
          static_cast<std::int64_t>(std::clamp(seconds_a_run * 1e9 * cores / (guess_ns * width), 50.0, 200'000.0));
      const double ns = run(iterations, steps) * 1e9 * cores / static_cast<double>(steps * width);
      guess_ns = ns;
      if (repeat == 0 || ns < least) least = ns;
    }
    return least;
  };
  granularity(1024);  // warm-up
  Metg metg;
  double held_ns = 0, held_efficiency = 0;    // of the smallest size that holds 50 %
  double below_ns = 0, below_efficiency = 0;  // of the size after it
  for (std::int64_t iterations = 1 << 15, below = 0; iterations >= 1 && below < 2; iterations /= 2) {
    const double ideal = static_cast<double>(iterations) * ns_per_iteration;
    guess_ns = std::max(guess_ns / 2, ideal);
    const double ns = granularity(iterations), efficiency = ideal / ns;
    if (std::getenv("METG_SWEEP")) {
      std::fprintf(stderr, "%8lld iterations: kernel %9.3f us, granularity %9.3f us, %3.0f %%\n",
                   static_cast<long long>(iterations), ideal / 1e3, ns / 1e3, efficiency * 100);
    }
    if (efficiency >= 0.5) {
      held_ns = ns;
      held_efficiency = efficiency;
      below = 0;
    } else if (below++ == 0) {
      below_ns = ns;
      below_efficiency = efficiency;
    }
  }
  if (held_ns == 0) {
    metg.reason = "below 50 % with the largest kernel";
  } else if (below_ns == 0) {
    metg.reason = "never below 50 %";
  } else {
    const double share = (0.5 - below_efficiency) / (held_efficiency - below_efficiency);
    metg.us = (below_ns + share * (held_ns - below_ns)) / 1e3;
  }
  metg.empty_us = granularity(0) / 1e3;
  return metg;
}

}  // namespace bench
