// Machine learning on two workers.
//
//   round     put 100 MB of weights, 2 tasks read all of it and return 100 MB, aggregate to a new ref
//             -> ml.round_100m.ms
//   train     DataParallel, one synchronisation a step -> ml.train_s.samples_s, ml.train_m.samples_s,
//             or with --workers 1 ml.train_s_1.samples_s, ml.train_m_1.samples_s
//   tasks     the same written as put + Remote<TrainBatch> + Aggregate per step
//             -> ml.train_tasks_s.samples_s
//
// The data are made up, as in limits/dp_bare: only time counts here.
// Usage: learn round|train|tasks [--model s|m] [--workers N] [--epochs N]
#include "bench/programs/driver.h"
#include "sheaf/ml.h"

namespace {

namespace ml = sheaf::ml;
using sheaf::Array;
using sheaf::ArrayBuilder;
using sheaf::ObjectRef;

Array<float> Halve(const Array<float>& weights) {
  ArrayBuilder<float> builder(weights.size());
  const auto from = weights.span();
  const auto to = builder.span();
  for (std::size_t i = 0; i < to.size(); ++i) to[i] = from[i] * 0.5f;
  return std::move(builder).Seal();
}
std::int64_t Pid(const Array<float>& weights) {
  bench::Keep(weights[weights.size() - 1]);
  return getpid();
}

void Round(bench::Report& report) {
  constexpr std::size_t kFloats = 25'000'000;
  const std::vector<float> source(kFloats, 2.0f);
  bench::Samples samples;
  for (int i = 0; i < 8; ++i) {
    const auto begin = bench::NowNs();
    ArrayBuilder<float> builder(kFloats);
    std::copy(source.begin(), source.end(), builder.span().begin());
    const auto weights = sheaf::Put(std::move(builder).Seal());
    const std::vector<ObjectRef<Array<float>>> updates = {sheaf::Remote<Halve>(weights), sheaf::Remote<Halve>(weights)};
    const auto mean = ml::Aggregate(updates);
    sheaf::Wait(std::vector{mean});
    const auto ms = static_cast<double>(bench::NowNs() - begin) / 1e6;
    bench::CheckedPid(sheaf::Remote<Pid>(mean).Get());
    if (mean.Get()[kFloats / 2] != 1.0f) bench::Die("the mean is wrong");
    if (i >= 2) samples.Add(ms);
  }
  report.Add("ml.round_100m.ms", samples);
}

ml::Mlp ModelOf(const std::string& name) {
  return ml::Mlp(name == "s" ? std::vector<std::size_t>{784, 128, 10} : std::vector<std::size_t>{784, 512, 512, 10});
}

std::vector<ml::Shard> MakeShards(const ml::Mlp& model, std::size_t count) {
  const std::size_t rows = 60'000 / count;
  std::uint32_t state = 1;
  std::vector<ml::Shard> shards;
  for (std::size_t shard = 0; shard < count; ++shard) {
    ArrayBuilder<float> x(rows * model.inputs());
    ArrayBuilder<std::uint8_t> y(rows);
    for (float& value : x.span()) {
      state = state * 1664525u + 1013904223u;
      value = static_cast<float>(state >> 8) * 0x1p-24f;
    }
    for (std::size_t i = 0; i < rows; ++i) {
      y.span()[i] = static_cast<std::uint8_t>((i * 7) % model.classes());
    }
    shards.push_back({std::move(x).Seal(), std::move(y).Seal()});
  }
  return shards;
}

void Train(const std::string& name, std::size_t workers, std::int64_t epochs, bench::Report& report) {
  const ml::Mlp model = ModelOf(name);
  std::vector<ObjectRef<ml::Shard>> shards;
  for (const auto& shard : MakeShards(model, workers)) shards.push_back(sheaf::Put(shard));
  ml::DataParallel<ml::Mlp> trainer(model, shards, {.batch = name == "s" ? 64u : 256u, .sgd = {.rate = 0.05f}});
  trainer.RunEpoch();
  bench::Samples rates;
  for (std::int64_t epoch = 0; epoch < epochs; ++epoch) {
    const auto begin = bench::NowNs();
    trainer.RunEpoch();
    const auto samples =
        static_cast<double>(trainer.steps_per_epoch()) * static_cast<double>(trainer.samples_per_step());
    rates.Add(samples * 1e9 / static_cast<double>(bench::NowNs() - begin));
  }
  report.Add("ml.train_" + name + (workers == 1 ? "_1" : "") + ".samples_s", rates, 0.01);
}

// The classic loop, as users write it.
Array<float> TrainBatch(const ml::Mlp& model, const ml::Shard& shard, const Array<float>& weights, std::int64_t row,
                        std::int64_t rows) {
  const auto first = static_cast<std::size_t>(row), n = static_cast<std::size_t>(rows);
  std::vector<float> gradient(model.parameters());
  model.Gradient(weights.span(), shard.x.span().subspan(first * model.inputs(), n * model.inputs()),
                 shard.y.span().subspan(first, n), gradient);
  ArrayBuilder<float> updated(model.parameters());
  const std::span<const float> gradients[1] = {gradient};
  ml::Sgd{.rate = 0.05f}.Step(gradients, weights, {}, updated.span(), {});
  return std::move(updated).Seal();
}

void TrainTasks(std::int64_t epochs, bench::Report& report) {
  const ml::Mlp model = ModelOf("s");
  constexpr std::int64_t kBatch = 64;
  const auto model_ref = sheaf::Put(model);
  std::vector<ObjectRef<ml::Shard>> shards;
  for (const auto& shard : MakeShards(model, 2)) shards.push_back(sheaf::Put(shard));
  std::vector<float> initial(model.parameters());
  model.Init(1, initial);
  auto weights = sheaf::Put(Array<float>::Copy(initial));
  bench::Samples rates;
  const std::int64_t steps = 30'000 / kBatch;
  for (std::int64_t epoch = 0; epoch <= epochs; ++epoch) {
    const auto begin = bench::NowNs();
    for (std::int64_t step = 0; step < steps; ++step) {
      std::vector<ObjectRef<Array<float>>> updated;
      for (const auto& shard : shards) {
        updated.push_back(sheaf::Remote<TrainBatch>(model_ref, shard, weights, step * kBatch, kBatch));
      }
      weights = ml::Aggregate(updated);
      if (step % 16 == 15) sheaf::Wait(std::vector{weights});
    }
    sheaf::Wait(std::vector{weights});
    const auto samples = static_cast<double>(2 * steps * kBatch);
    if (epoch > 0) rates.Add(samples * 1e9 / static_cast<double>(bench::NowNs() - begin));
  }
  bench::CheckedPid(sheaf::Remote<Pid>(weights).Get());
  report.Add("ml.train_tasks_s.samples_s", rates, 0.01);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  const auto workers = bench::Flag(argc, argv, "workers", std::int64_t{2});
  const std::string model = bench::Flag(argc, argv, "model", std::string("s"));
  const auto epochs = bench::Flag(argc, argv, "epochs", std::int64_t{model == "s" ? 5 : 1});
  bench::Start(workers);
  bench::WarmUp();
  bench::Report report;
  if (mode == "round") {
    Round(report);
  } else if (mode == "train") {
    Train(model, static_cast<std::size_t>(workers), epochs, report);
  } else if (mode == "tasks") {
    TrainTasks(epochs, report);
  } else {
    bench::Die("usage: learn round|train|tasks [--model s|m] [--workers N] [--epochs N]");
  }
  report.Print();
}
