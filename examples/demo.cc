// Trains Fashion-MNIST the way a Python notebook would: put the weights, one remote TrainBatch a shard, aggregate the
// returned futures, repeat. Nothing is fetched on the way: the loop submits refs on results that do not exist yet, and
// the workers read data and weights where they lie. Ends with the line "test accuracy: 0.8NNN".
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <deque>
#include <exception>
#include <string>

#include "examples/demo/data.h"
#include "examples/demo/memory_proof.h"
#include "examples/demo/options.h"
#include "examples/demo/progress.h"
#include "sheaf/ml.h"
#include "sheaf/sheaf.h"

namespace {

namespace ml = sheaf::ml;
using sheaf::ObjectRef;
using sheaf::Remote;

constexpr std::uint64_t kSeed = 1;
constexpr float kRate = 0.1f;
constexpr std::size_t kWindow = 16;  // steps submitted ahead

// What a worker gives back: its weights after one batch, and the sum of the losses on the way there.
struct Update {
  ml::Weights weights;
  double loss = 0;
};
struct Batch {
  std::uint64_t row = 0, rows = 0;
};

// One step of gradient descent on one batch. Shard and weights are read in place; the new weights are made in place.
Update TrainBatch(const ml::Mlp& model, const ml::Shard& shard, const Update& at, const Batch& batch, float rate) {
  thread_local std::vector<float> gradient;
  gradient.resize(model.parameters());
  const double loss =
      model.Gradient(at.weights.Flat(), shard.x.span().subspan(batch.row * model.inputs(), batch.rows * model.inputs()),
                     shard.y.span().subspan(batch.row, batch.rows), gradient);
  ml::WeightsBuilder next(at.weights);
  const std::span<const float> gradients[] = {gradient};
  ml::Sgd{.rate = rate}.Step(gradients, at.weights.Flat(), {}, next.Flat(), {});
  return {std::move(next).Seal(), at.loss + loss};
}

std::uint64_t CountCorrect(const ml::Mlp& model, const Update& at, const ml::Shard& shard) {
  return model.CountCorrect(at.weights.Flat(), shard.x, shard.y);
}

Update InitialWeights(const ml::Mlp& model) {
  ml::WeightsBuilder builder(model.Specs());
  model.Init(kSeed, builder.Flat());
  return {std::move(builder).Seal(), 0};
}

// The loop itself.
class Trainer {
 public:
  Trainer(const ml::Mlp& model, std::vector<ObjectRef<ml::Shard>> shards, std::size_t rows, std::size_t batch,
          std::int64_t epochs)
      : model_(sheaf::Put(model)),
        weights_(sheaf::Put(InitialWeights(model))),
        shards_(std::move(shards)),
        batch_(batch),
        steps_per_epoch_(static_cast<std::int64_t>(rows / batch)),
        schedule_{.warmup = 100, .total = steps_per_epoch_ * epochs} {}

  std::int64_t steps_per_epoch() const { return steps_per_epoch_; }
  const ObjectRef<Update>& weights() const { return weights_; }
  const ObjectRef<ml::Mlp>& model() const { return model_; }

  // Returns the mean loss. `progress` hears how many steps have finished.
  template <class F>
  double Run(std::int64_t steps, const F& progress) {
    for (std::int64_t i = 0; i < steps; ++i, ++step_) {
      // Batches are visited in strides, another one in each epoch; the rows themselves were shuffled when loaded.
      const auto n = static_cast<std::uint64_t>(steps_per_epoch_);
      const std::uint64_t position = (static_cast<std::uint64_t>(step_ % steps_per_epoch_) +
                                      static_cast<std::uint64_t>(step_ / steps_per_epoch_) * 131) %
                                     n;
      const Batch batch{position * batch_, batch_};
      std::vector<ObjectRef<Update>> updates;
      for (const auto& shard : shards_) {
        updates.push_back(Remote<TrainBatch>(model_, shard, weights_, batch, kRate * schedule_.Factor(step_)));
      }
      weights_ = ml::Aggregate(updates);
      ahead_.push_back(weights_);
      // Bounded: when the window is full, sleep until half of it is done.
      if (ahead_.size() == kWindow) {
        ahead_[kWindow / 2 - 1].Get();
        ahead_.erase(ahead_.begin(), ahead_.begin() + kWindow / 2);
        progress(step_ + 1 - static_cast<std::int64_t>(ahead_.size()));
      }
    }
    ahead_.clear();
    const double sum = weights_.Get().loss, mean = (sum - loss_) / static_cast<double>(steps);
    loss_ = sum;
    return mean;
  }

 private:
  const ObjectRef<ml::Mlp> model_;
  ObjectRef<Update> weights_;
  const std::vector<ObjectRef<ml::Shard>> shards_;
  const std::size_t batch_;
  const std::int64_t steps_per_epoch_;
  const ml::Schedule schedule_;
  std::deque<ObjectRef<Update>> ahead_;
  std::int64_t step_ = 0;
  double loss_ = 0;
};

template <class F>
double Seconds(const F& f) {
  const auto start = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// The same loop with one worker, and the library's trainer, for a moment each, once they are warm.
void Compare(const ml::Mlp& model, const demo::Data& data, const demo::Options& options, double rate_of_all) {
  const auto quiet = [](std::int64_t) {};
  const std::int64_t steps = std::min<std::int64_t>(400, static_cast<std::int64_t>(data.train_rows / options.batch));
  Trainer one(model, {data.train[0]}, data.train_rows, options.batch, 1);
  one.Run(steps / 8, quiet);
  const double one_rate =
      static_cast<double>(steps) * static_cast<double>(options.batch) / Seconds([&] { one.Run(steps, quiet); });
  ml::DataParallel<ml::Mlp> trainer(model, data.train, {.batch = options.batch, .sgd = {.rate = kRate}, .seed = kSeed});
  trainer.Run(steps / 8);
  const double trainer_rate = static_cast<double>(steps) * static_cast<double>(trainer.samples_per_step()) /
                              Seconds([&] { trainer.Run(steps); });
  std::printf("speed: %zu workers %.0f samples/s, 1 worker %.0f (%.2fx); ml::DataParallel %.0f\n", options.workers,
              rate_of_all, one_rate, rate_of_all / one_rate, trainer_rate);
}

int Run(const demo::Options& options) {
  const ml::Mlp model({784, 128, 10});
  demo::Data data;
  const double loading = Seconds([&] { data = demo::LoadData(options.data, options.workers, kSeed); });
  if (options.batch > data.train_rows) throw std::invalid_argument("--batch is larger than a worker's shard");
  std::printf("data: %zu training images, %.0f MB in the store, read in %.1f s\n", data.train_rows * options.workers,
              static_cast<double>(data.bytes) / 1e6, loading);
  demo::ProveSharing(data, options.workers);

  Trainer trainer(model, data.train, data.train_rows, options.batch, options.epochs);
  demo::Progress progress(options.epochs, trainer.steps_per_epoch(), options.batch * options.workers);
  const double training = Seconds([&] {
    for (std::int64_t epoch = 1; epoch <= options.epochs; ++epoch) {
      progress.EpochDone(epoch,
                         trainer.Run(trainer.steps_per_epoch(), [&](std::int64_t done) { progress.Update(done); }));
    }
  });
  std::printf("trained %lld epochs in %.2f s\n", static_cast<long long>(options.epochs), training);
  Compare(model, data, options, progress.samples_per_second());

  std::vector<ObjectRef<std::uint64_t>> counts;
  for (const auto& shard : data.test) counts.push_back(Remote<CountCorrect>(trainer.model(), trainer.weights(), shard));
  std::uint64_t correct = 0;
  for (const std::uint64_t count : sheaf::Get(counts)) correct += count;
  if (!options.save.empty()) {
    ml::WriteSafetensors(trainer.weights().Get().weights, options.save);
    std::printf("saved %s\n", options.save.c_str());
  }
  std::printf("test accuracy: %.4f\n", static_cast<double>(correct) / static_cast<double>(data.test_rows));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    // Init takes its own options out; what is left is ours.
    const std::string workers = "--sheaf-workers=";
    std::vector<std::string> words(argv, argv + argc);
    std::erase_if(words, [](const std::string& word) { return word.rfind("--sheaf-", 0) == 0; });
    std::vector<char*> own;
    for (auto& word : words) own.push_back(word.data());
    const demo::Options options = demo::ParseOptions(static_cast<int>(own.size()), own.data());
    if (options.help) {
      std::fputs(demo::HelpText(), stdout);
      return 0;
    }
    std::string wanted = workers + std::to_string(options.workers);
    std::vector<char*> arguments(argv, argv + argc);
    arguments.insert(arguments.begin() + 1, wanted.data());
    arguments.push_back(nullptr);
    int count = argc + 1;
    sheaf::Init(count, arguments.data());
    return Run(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "sheaf_demo: %s\n", error.what());
    return 1;
  }
}
