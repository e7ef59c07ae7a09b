// Limits of memory: what any put, get or map is compared with.
//
//   memcpy     one thread, 256 MiB, warm source and destination        -> limit.memcpy.gbps
//   memcpy64   the same over 64 MiB buffers, as a put of 64 MiB        -> limit.memcpy_64m.gbps
//   memcpy100  100 MB once, in ms                                      -> limit.memcpy_100m.ms
//   map_touch  map a prefaulted memfd read-only, touch every page      -> limit.map_touch.ms_per_gib
//
// Usage: memory MODE [--rounds N]
#include <cstring>

#include "bench/copy.h"
#include "bench/limits/shared.h"

namespace {

// The faster of memcpy and a copy with streaming stores, each round.
void Copy(const std::string& key, std::size_t bytes, bool as_time, std::int64_t rounds, bench::Report& report) {
  std::vector<char> from(bytes + 64, 1), to(bytes + 64, 2);
  char* const aligned = to.data() + 64 - reinterpret_cast<std::size_t>(to.data()) % 64;
  bench::Samples samples;
  std::memcpy(aligned, from.data(), bytes);
  for (std::int64_t i = 0; i < rounds; ++i) {
    const auto begin = bench::NowNs();
    std::memcpy(aligned, from.data(), bytes);
    bench::Keep(aligned);
    const auto middle = bench::NowNs();
    bench::StreamCopy(aligned, from.data(), bytes);
    bench::Keep(aligned);
    const auto ns = static_cast<double>(std::min(middle - begin, bench::NowNs() - middle));
    samples.Add(as_time ? ns / 1e6 : static_cast<double>(bytes) / ns);
  }
  report.Add(key, samples, as_time ? 0.99 : 0.01);
}

void MapTouch(std::int64_t rounds, bench::Report& report) {
  constexpr std::size_t kBytes = std::size_t{1} << 30;
  const int fd = memfd_create("limit", MFD_CLOEXEC);
  if (fd < 0 || ftruncate(fd, kBytes) != 0) bench::Die("memfd failed");
  void* filled = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
  if (filled == MAP_FAILED) bench::Die("mmap failed");
  std::memset(filled, 1, kBytes);
  bench::Samples samples;
  for (std::int64_t i = 0; i < rounds; ++i) {
    const auto begin = bench::NowNs();
    void* at = mmap(nullptr, kBytes, PROT_READ, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) bench::Die("mmap failed");
    std::uint64_t sum = 0;
    for (std::size_t page = 0; page < kBytes; page += 4096) {
      sum += static_cast<const volatile unsigned char*>(at)[page];
    }
    bench::Keep(sum);
    samples.Add(static_cast<double>(bench::NowNs() - begin) / 1e6);
    munmap(at, kBytes);
  }
  report.Add("limit.map_touch.ms_per_gib", samples);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  const auto rounds = bench::Flag(argc, argv, "rounds", std::int64_t{9});
  bench::Report report;
  if (mode == "memcpy") {
    Copy("limit.memcpy.gbps", std::size_t{256} << 20, false, rounds, report);
  } else if (mode == "memcpy64") {
    Copy("limit.memcpy_64m.gbps", std::size_t{64} << 20, false, rounds, report);
  } else if (mode == "memcpy100") {
    Copy("limit.memcpy_100m.ms", 100'000'000, true, rounds, report);
  } else if (mode == "map_touch") {
    MapTouch(rounds, report);
  } else {
    bench::Die("usage: memory memcpy|memcpy64|memcpy100|map_touch [--rounds N]");
  }
  report.Print();
}
