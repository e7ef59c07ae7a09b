// limit.ring.msgs_s: 64-byte messages through one single-writer ring in shared memory, two processes,
// published one by one. Each message carries its own sequence number; the reader publishes how far it
// is twice per ring, so that the writer can reuse slots.
//
// Usage: ring [--messages N]
#include "bench/limits/shared.h"

namespace {

constexpr std::uint64_t kDepth = 1024;

struct alignas(64) Message {
  std::uint64_t body[7];
  std::atomic<std::uint64_t> sequence;
};
struct Ring {
  Message messages[kDepth];
  alignas(64) std::atomic<std::uint64_t> consumed;
  alignas(64) std::atomic<std::uint64_t> sum;
};

}  // namespace

int main(int argc, char** argv) {
  const auto count = static_cast<std::uint64_t>(bench::Flag(argc, argv, "messages", std::int64_t{4'000'000}));
  auto* ring = bench::MapShared<Ring>();
  const pid_t child = bench::Fork([&] {
    std::uint64_t sum = 0;
    for (std::uint64_t m = 1; m <= count; ++m) {
      const Message& message = ring->messages[m % kDepth];
      while (message.sequence.load(std::memory_order_acquire) != m) bench::Pause();
      sum += message.body[0];
      if (m % (kDepth / 2) == 0) ring->consumed.store(m, std::memory_order_release);
    }
    ring->sum.store(sum, std::memory_order_relaxed);
    ring->consumed.store(count, std::memory_order_release);
  });
  const auto begin = bench::NowNs();
  for (std::uint64_t m = 1; m <= count; ++m) {
    while (m > ring->consumed.load(std::memory_order_acquire) + kDepth - 1) bench::Pause();
    Message& message = ring->messages[m % kDepth];
    for (auto& word : message.body) word = m;
    message.sequence.store(m, std::memory_order_release);
  }
  while (ring->consumed.load(std::memory_order_acquire) != count) bench::Pause();
  const double seconds = static_cast<double>(bench::NowNs() - begin) / 1e9;
  waitpid(child, nullptr, 0);
  if (ring->sum.load() != count * (count + 1) / 2) bench::Die("ring lost a message");
  bench::Report report;
  report.Add("limit.ring.msgs_s", static_cast<double>(count) / seconds);
  report.Print();
}
