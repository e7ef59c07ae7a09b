// The bound of ml.train_*: the same network, batch and steps in two plain processes over one shared mapping, without
// any runtime. One copy of the weights, one gradient buffer a rank; each rank updates half of the weights in place;
// a spinning barrier before and after. Prints one JSON line, {"samples_s": ...}, of the median epoch.
//
// Usage: dp_bare [--model s|m] [--procs 1|2] [--batch B] [--epochs N] [--samples N]
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "ml/kernels.h"
#include "sheaf/ml/mlp.h"

namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  std::string model = "s";
  std::size_t procs = 2, batch = 0, epochs = 5, samples = 60000;
};

struct Shared {
  alignas(64) std::atomic<std::uint64_t> arrived[2];
  double loss[2][8];
  double seconds[64];
};

template <class T>
std::span<T> Map(std::size_t n) {
  void* at = mmap(nullptr, n * sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (at == MAP_FAILED) {
    std::perror("dp_bare: mmap");
    std::exit(1);
  }
  return {static_cast<T*>(at), n};
}

// Each rank writes its own counter only.
struct Barrier {
  Shared& shared;
  std::size_t rank, procs;
  std::uint64_t round = 0;
  void Wait() {
    ++round;
    if (procs == 1) return;
    shared.arrived[rank].store(round, std::memory_order_release);
    const auto& other = shared.arrived[1 - rank];
    while (other.load(std::memory_order_acquire) < round) __builtin_ia32_pause();
  }
};

Options Parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string flag = argv[i], value = argv[i + 1];
    if (flag == "--model")
      options.model = value;
    else if (flag == "--procs")
      options.procs = std::stoul(value);
    else if (flag == "--batch")
      options.batch = std::stoul(value);
    else if (flag == "--epochs")
      options.epochs = std::min<std::size_t>(64, std::stoul(value));
    else if (flag == "--samples")
      options.samples = std::stoul(value);
  }
  if (options.batch == 0) options.batch = options.model == "s" ? 64 : 256;
  if (options.procs != 1) options.procs = 2;
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = Parse(argc, argv);
  const sheaf::ml::Mlp model(options.model == "s" ? std::vector<std::size_t>{784, 128, 10}
                                                  : std::vector<std::size_t>{784, 512, 512, 10});
  auto x = Map<float>(options.samples * model.inputs());
  auto y = Map<std::uint8_t>(options.samples);
  std::uint32_t state = 1;
  for (std::size_t i = 0; i < x.size(); ++i) {
    state = state * 1664525u + 1013904223u;
    x[i] = static_cast<float>(state >> 8) * 0x1p-24f;
  }
  for (std::size_t i = 0; i < y.size(); ++i) y[i] = static_cast<std::uint8_t>((i * 7) % model.classes());
  auto weights = Map<float>(model.parameters());
  model.Init(1, weights);
  std::span<float> gradients[2] = {Map<float>(model.parameters()), Map<float>(model.parameters())};
  Shared& shared = Map<Shared>(1)[0];

  std::size_t rank = 0;
  pid_t child = 0;
  if (options.procs == 2) {
    child = fork();
    rank = child == 0 ? 1 : 0;
  }
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  CPU_SET(rank % static_cast<std::size_t>(sysconf(_SC_NPROCESSORS_ONLN)), &cpus);
  sched_setaffinity(0, sizeof cpus, &cpus);

  Barrier barrier{shared, rank, options.procs};
  const std::size_t steps = options.samples / (options.batch * options.procs);
  const std::size_t half = model.parameters() / 2 / 16 * 16;
  const std::size_t begin = rank == 0 ? 0 : half;
  const std::size_t end = options.procs == 1 || rank == 1 ? model.parameters() : half;
  for (std::size_t epoch = 0; epoch <= options.epochs; ++epoch) {  // the first is not counted
    barrier.Wait();
    const auto start = Clock::now();
    for (std::size_t step = 0; step < steps; ++step) {
      const std::size_t row = (step * options.procs + rank) * options.batch;
      shared.loss[rank][0] = model.Gradient(weights, x.subspan(row * model.inputs(), options.batch * model.inputs()),
                                            y.subspan(row, options.batch), gradients[rank]);
      barrier.Wait();
      const float* sources[2] = {gradients[0].data() + begin, gradients[1].data() + begin};
      sheaf::ml::BestKernels().sgd(sources, options.procs, 1.0f / static_cast<float>(options.procs), 0.05f, 0, 0,
                                   weights.data() + begin, nullptr, weights.data() + begin, nullptr, end - begin);
      barrier.Wait();
    }
    if (rank == 0 && epoch > 0) {
      shared.seconds[epoch - 1] = std::chrono::duration<double>(Clock::now() - start).count();
    }
  }
  if (child == 0 && options.procs == 2) _exit(0);
  if (child > 0) waitpid(child, nullptr, 0);
  std::vector<double> seconds(shared.seconds, shared.seconds + options.epochs);
  std::sort(seconds.begin(), seconds.end());
  const double samples = static_cast<double>(steps * options.batch * options.procs);
  std::printf("{\"samples_s\": %.0f, \"model\": \"%s\", \"procs\": %zu, \"batch\": %zu, \"loss\": %.6f}\n",
              samples / seconds[seconds.size() / 2], options.model.c_str(), options.procs, options.batch,
              shared.loss[0][0]);
}
