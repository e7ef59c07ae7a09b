// Round trips between two processes, without any runtime: the limits of everything that waits.
//
//   spin          one 8-byte word each way, both spinning              -> limit.spin.us
//   line          the same over a fresh cache line for every message   -> limit.line.ns
//   futex         both blocking in futex, back to back                 -> limit.futex.us
//   futex_asleep  the same after 10 ms of silence                      -> limit.futex_asleep.us
//
// Usage: ping MODE [--rounds N] [--pin 1]
#include "bench/limits/shared.h"

namespace {

constexpr std::size_t kLines = 4096;

struct alignas(64) Line {
  std::atomic<std::uint64_t> word;
};
struct Words {
  alignas(64) std::atomic<std::uint32_t> ping;
  alignas(64) std::atomic<std::uint32_t> pong;
};

// Samples are means over short bursts: one round trip is shorter than two clock reads.
bench::Samples Burst(std::int64_t rounds, std::int64_t burst, auto&& once) {  // ns
  bench::Samples samples;
  std::uint64_t message = 0;
  for (std::int64_t i = 0; i < rounds; ++i) {
    const auto begin = bench::NowNs();
    for (std::int64_t k = 0; k < burst; ++k) once(++message);
    samples.Add(static_cast<double>(bench::NowNs() - begin) / static_cast<double>(burst));
  }
  return samples;
}

bench::Samples Scaled(const bench::Samples& samples, double factor) {
  bench::Samples scaled;
  for (int i = 0; i <= 1000; ++i) scaled.Add(samples.Quantile(i / 1000.0) * factor);
  return scaled;
}

void Spin(bool fresh, std::int64_t rounds, bench::Report& report) {
  const std::size_t lines = fresh ? kLines : 1;
  auto* ping = bench::MapShared<Line>(lines);
  auto* pong = bench::MapShared<Line>(lines);
  const std::int64_t burst = 256, total = rounds * burst;
  const pid_t child = bench::Fork([&] {
    for (std::uint64_t m = 1; m <= static_cast<std::uint64_t>(total); ++m) {
      while (ping[m % lines].word.load(std::memory_order_acquire) != m) bench::Pause();
      pong[m % lines].word.store(m, std::memory_order_release);
    }
  });
  const auto samples = Burst(rounds, burst, [&](std::uint64_t m) {
    ping[m % lines].word.store(m, std::memory_order_release);
    while (pong[m % lines].word.load(std::memory_order_acquire) != m) bench::Pause();
  });
  waitpid(child, nullptr, 0);
  if (fresh) {
    report.Add("limit.line.ns", samples);
  } else {
    report.Add("limit.spin.us", Scaled(samples, 1e-3));
  }
}

void Futex(bool asleep, bool pin, std::int64_t rounds, bench::Report& report) {
  auto* words = bench::MapShared<Words>();
  if (pin) bench::Pin(0);
  const pid_t child = bench::Fork([&] {
    if (pin) bench::Pin(1);
    for (std::uint32_t m = 1; m <= static_cast<std::uint32_t>(rounds); ++m) {
      while (words->ping.load(std::memory_order_acquire) != m) bench::FutexWait(words->ping, m - 1);
      words->pong.store(m, std::memory_order_release);
      bench::FutexWake(words->pong);
    }
  });
  bench::Samples samples;
  for (std::uint32_t m = 1; m <= static_cast<std::uint32_t>(rounds); ++m) {
    if (asleep) usleep(10'000);
    const auto begin = bench::NowNs();
    words->ping.store(m, std::memory_order_release);
    bench::FutexWake(words->ping);
    while (words->pong.load(std::memory_order_acquire) != m) bench::FutexWait(words->pong, m - 1);
    samples.Add(static_cast<double>(bench::NowNs() - begin) / 1e3);
  }
  waitpid(child, nullptr, 0);
  report.Add(asleep ? "limit.futex_asleep.us" : "limit.futex.us", samples);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  const bool pin = bench::Flag(argc, argv, "pin", std::int64_t{0}) != 0;
  bench::Report report;
  if (mode == "spin" || mode == "line") {
    Spin(mode == "line", bench::Flag(argc, argv, "rounds", std::int64_t{1000}), report);
  } else if (mode == "futex") {
    Futex(false, pin, bench::Flag(argc, argv, "rounds", std::int64_t{3000}), report);
  } else if (mode == "futex_asleep") {
    Futex(true, pin, bench::Flag(argc, argv, "rounds", std::int64_t{60}), report);
  } else {
    bench::Die("usage: ping spin|line|futex|futex_asleep [--rounds N] [--pin 1]");
  }
  report.Print();
}
