// The store: get, put, and how soon another process sees a value.
//
//   get       Get and release of a sealed, mapped 1 KiB object          -> store.get.ns
//   put_1k    create, fill, seal, drop of 1 KiB                         -> store.put_1k.ns
//   put_64m   create, fill in place, publish, drop of 64 MiB            -> store.put_64m.gbps
//   put_1g    the same, 1 GiB                                           -> store.put_1g.gbps
//   visible   a worker's result until the spinning driver sees it       -> store.visible.us
//
// `--count N` operations; bench/run.py runs get and put_1k with two counts under strace, and the
// difference in system calls is what the operations cost.
// Usage: store MODE [--count N]
#include "bench/copy.h"
#include "bench/programs/driver.h"

namespace {

using sheaf::Array;
using sheaf::ArrayBuilder;
using sheaf::Put;

constexpr std::int64_t kBurst = 64;

Array<float> Kilobyte(float value) {
  ArrayBuilder<float> builder(256);
  for (float& element : builder.span()) element = value;
  return std::move(builder).Seal();
}

// Means over bursts, as one operation is not much longer than reading the clock.
void Small(const std::string& key, std::int64_t count, auto&& once, bench::Report& report) {
  for (std::int64_t i = 0; i < 2000; ++i) once(i);
  bench::Samples samples;
  for (std::int64_t i = 0; i < count / kBurst; ++i) {
    const auto begin = bench::NowNs();
    for (std::int64_t k = 0; k < kBurst; ++k) once(k);
    samples.Add(static_cast<double>(bench::NowNs() - begin) / kBurst);
  }
  report.Add(key, samples);
}

void Get(std::int64_t count, bench::Report& report) {
  const auto ref = Put(Kilobyte(1));
  Small(
      "store.get.ns", count,
      [&](std::int64_t i) {
        const Array<float> array = ref.Get();
        bench::Keep(array[static_cast<std::size_t>(i)]);
      },
      report);
}

void PutSmall(std::int64_t count, bench::Report& report) {
  Small(
      "store.put_1k.ns", count,
      [](std::int64_t i) {
        const auto ref = Put(Kilobyte(static_cast<float>(i)));
        bench::Keep(ref);
      },
      report);
}

// Nothing is prefaulted outside the timing: the first objects are cold and count.
void PutLarge(const std::string& key, std::size_t bytes, std::int64_t count, bench::Report& report) {
  const std::vector<char> source(bytes, 1);
  bench::Samples rates;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto begin = bench::NowNs();
    {
      ArrayBuilder<char> builder(bytes);
      bench::StreamCopy(builder.span().data(), source.data(), bytes);
      const auto ref = Put(std::move(builder).Seal());
      bench::Keep(ref);
    }
    rates.Add(static_cast<double>(bytes) / static_cast<double>(bench::NowNs() - begin));
  }
  report.Add(key, rates, 0.01);
}

struct Stamp {
  std::int64_t ns = 0, pid = 0;
};
// Gives the driver time to look before there is anything to see.
Stamp PutTheTime() {
  const auto begin = bench::NowNs();
  while (bench::NowNs() - begin < 20'000) bench::Pause();
  return {bench::NowNs(), bench::OwnPid()};
}

void Visible(std::int64_t count, bench::Report& report) {
  bench::Samples samples;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto ref = sheaf::Remote<PutTheTime>();
    while (!ref.Ready()) bench::Pause();
    const auto seen = bench::NowNs();
    const Stamp stamp = ref.Get();
    bench::CheckedPid(stamp.pid);
    samples.Add(static_cast<double>(seen - stamp.ns) / 1e3);
  }
  report.Add("store.visible.us", samples);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  const auto count = [&](std::int64_t otherwise) { return bench::Flag(argc, argv, "count", otherwise); };
  bench::Start(1);
  bench::Report report;
  if (mode == "get") {
    Get(count(1'000'000), report);
  } else if (mode == "put_1k") {
    PutSmall(count(200'000), report);
  } else if (mode == "put_64m") {
    PutLarge("store.put_64m.gbps", std::size_t{64} << 20, count(100), report);
  } else if (mode == "put_1g") {
    PutLarge("store.put_1g.gbps", std::size_t{1} << 30, count(10), report);
  } else if (mode == "visible") {
    bench::WarmUp();
    Visible(count(5000), report);
  } else {
    bench::Die("usage: store get|put_1k|put_64m|put_1g|visible [--count N]");
  }
  report.Print();
}
