// Runs a fuzz target on mutations of its seeds: flipped bits, extreme numbers, cuts, repeats and splices, a fixed number of them
// from a fixed generator. `target [RUNS] [FIRST]`; a run that fails is printed by its number before it is run, so it can be run alone.
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>

#include "base/random.h"
#include "tests/fuzz/target.h"

namespace {

volatile std::uint64_t run_now = 0;

void Tell(int) {
  char text[64];
  const int size = std::snprintf(text, sizeof text, "failed in run %llu\n", static_cast<unsigned long long>(run_now));
  if (write(2, text, static_cast<std::size_t>(size)) < 0) _exit(99);
  _exit(1);
}

std::string Mutate(const std::vector<std::string>& seeds, sheaf::Random& random) {
  std::string text = seeds[random.Below(seeds.size())];
  for (std::uint64_t left = 1 + random.Below(6); left > 0; --left) {
    const std::size_t at = text.empty() ? 0 : random.Below(text.size());
    switch (random.Below(7)) {
      case 0:
        if (!text.empty()) text[at] = static_cast<char>(text[at] ^ (1 << random.Below(8)));
        break;
      case 1:
        if (!text.empty()) text[at] = static_cast<char>(random.Below(256));
        break;
      case 2: {  // a number at the edge of its type
        static constexpr std::uint64_t kEdges[] = {0,          1,          0x7f,       0xff,       0x7fff, 0xffff,
                                                   0x7fffffff, 0xffffffff, 1ull << 40, ~0ull >> 1, ~0ull};
        const std::uint64_t edge = kEdges[random.Below(std::size(kEdges))];
        const std::size_t width = std::size_t{1} << random.Below(4);
        if (at + width <= text.size()) std::memcpy(text.data() + at, &edge, width);
        break;
      }
      case 3:
        text.resize(at);
        break;
      case 4:
        text.insert(at, text.substr(at, random.Below(16)));
        break;
      case 5:
        text.erase(at, random.Below(16));
        break;
      default: {
        const std::string& other = seeds[random.Below(seeds.size())];
        const std::size_t from = other.empty() ? 0 : random.Below(other.size());
        text = text.substr(0, at) + other.substr(from);
      }
    }
  }
  return text;
}

}  // namespace

int main(int argc, char** argv) {
  const std::uint64_t runs = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 20'000;
  const std::uint64_t first = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 0;
  for (const int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGALRM}) std::signal(signal, Tell);
  const std::vector<std::string> seeds = FuzzSeeds();
  for (const std::string& seed : seeds)
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(seed.data()), seed.size());
  for (std::uint64_t run = first; run < first + runs; ++run) {
    run_now = run;
    alarm(20);
    sheaf::Random random(run);
    const std::string input = Mutate(seeds, random);
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(input.data()), input.size());
  }
  std::printf("%llu mutations of %zu inputs\n", static_cast<unsigned long long>(runs), seeds.size());
}
