// The trainer against a sequential program that computes the same shard gradients and adds them in the same order.
#include "sheaf/ml/data_parallel.h"

#include <gtest/gtest.h>

#include <random>

#include "sheaf/error.h"

namespace sheaf::ml {
namespace {

constexpr std::size_t kRows = 40, kBatch = 8;

Shard MakeShard(const Mlp& model, unsigned seed, std::size_t rows = kRows) {
  std::mt19937 generator(seed);
  std::uniform_real_distribution<float> value(0, 1);
  ArrayBuilder<float> x(rows * model.inputs());
  ArrayBuilder<std::uint8_t> y(rows);
  for (float& v : x.span()) v = value(generator);
  for (auto& v : y.span()) v = static_cast<std::uint8_t>(generator() % model.classes());
  return {std::move(x).Seal(), std::move(y).Seal()};
}

struct Outcome {
  std::vector<float> weights;
  double loss = 0;
};

// No tasks: the same arithmetic, in one place.
Outcome Sequential(const Mlp& model, const std::vector<Shard>& shards, const TrainOptions& options, std::int64_t steps) {
  std::vector<float> weights(model.parameters()), velocity(model.parameters());
  model.Init(options.seed, weights);
  const auto cuts = model.Cuts(shards.size());
  std::vector<std::vector<float>> gradients(shards.size(), std::vector<float>(model.parameters()));
  double loss = 0;
  const std::int64_t per_epoch = kRows / kBatch;
  for (std::int64_t step = 0; step < steps; ++step) {
    const auto order = detail::Shuffled(per_epoch, options.seed + (static_cast<std::uint64_t>(step / per_epoch) << 32));
    const std::uint64_t row = order[static_cast<std::size_t>(step % per_epoch)] * kBatch;
    std::vector<std::span<const float>> pieces, parts;
    for (std::size_t i = 0; i < shards.size(); ++i) {
      pieces.push_back(std::span<const float>(weights).subspan(cuts[i], cuts[i + 1] - cuts[i]));
    }
    double sum = 0;
    for (std::size_t i = 0; i < shards.size(); ++i) {
      sum += model.Gradient(pieces, shards[i].x.span().subspan(row * model.inputs(), kBatch * model.inputs()),
                            shards[i].y.span().subspan(row, kBatch), gradients[i]);
      parts.push_back(gradients[i]);
    }
    loss += sum / static_cast<double>(shards.size());
    Sgd sgd = options.sgd;
    sgd.rate *= options.schedule.Factor(step);
    sgd.Step(parts, weights, velocity, weights, velocity);
  }
  return {weights, loss / static_cast<double>(steps)};
}

std::vector<ObjectRef<Shard>> PutAll(const std::vector<Shard>& shards) {
  std::vector<ObjectRef<Shard>> refs;
  for (const Shard& shard : shards) refs.push_back(Put(shard));
  return refs;
}

TEST(DataParallel, IsBitwiseEqualToTheSequentialProgram) {
  const Mlp model({12, 9, 4});
  for (const std::size_t ranks : {1u, 2u, 3u, 4u}) {
    for (const float momentum : {0.0f, 0.9f}) {
      std::vector<Shard> shards;
      for (unsigned rank = 0; rank < ranks; ++rank) shards.push_back(MakeShard(model, rank + 1));
      const TrainOptions options{.batch = kBatch,
                                 .sgd = {.rate = 0.1f, .momentum = momentum, .decay = 1e-4f},
                                 .schedule = {.warmup = 3, .total = 13},
                                 .seed = 5,
                                 .window = 4};
      DataParallel<Mlp> trainer(model, PutAll(shards), options);
      ASSERT_EQ(trainer.steps_per_epoch(), 5);
      const double loss = trainer.Run(13);
      const Outcome expected = Sequential(model, shards, options, 13);
      const Weights weights = trainer.weights().Get();
      const std::vector<float> got(weights.Flat().begin(), weights.Flat().end());
      EXPECT_EQ(got, expected.weights) << ranks << " ranks, momentum " << momentum;
      EXPECT_DOUBLE_EQ(loss, expected.loss);
      EXPECT_EQ(weights.Specs(), model.Specs());
    }
  }
}

TEST(DataParallel, ReportsProgressAndLossPerRun) {
  const Mlp model({12, 9, 4});
  DataParallel<Mlp> trainer(model, PutAll({MakeShard(model, 1), MakeShard(model, 2)}),
                            {.batch = kBatch, .sgd = {.rate = 0.2f}, .window = 2});
  std::vector<std::int64_t> reports;
  const double first = trainer.RunEpoch([&](std::int64_t done) { reports.push_back(done); });
  double last = 0;
  for (int epoch = 0; epoch < 60; ++epoch) last = trainer.RunEpoch();
  EXPECT_EQ(reports.back(), 5);
  EXPECT_TRUE(std::is_sorted(reports.begin(), reports.end()));
  EXPECT_EQ(trainer.step(), 61 * 5);
  EXPECT_LT(last, first);
  EXPECT_EQ(trainer.samples_per_step(), 2 * kBatch);
}

TEST(DataParallel, RefusesNoShardsAndBatchesLargerThanAShard) {
  const Mlp model({12, 9, 4});
  EXPECT_THROW(DataParallel<Mlp>(model, {}, {}), Error);
  EXPECT_THROW(DataParallel<Mlp>(model, PutAll({MakeShard(model, 1)}), {.batch = kRows + 1}), Error);
  EXPECT_THROW(DataParallel<Mlp>(model, PutAll({MakeShard(model, 1)}), {.batch = 0}), Error);
  EXPECT_THROW(DataParallel<Mlp>(model, PutAll({MakeShard(model, 1), MakeShard(model, 2, 4)}), {.batch = kBatch}), Error);
}

TEST(DataParallel, ShufflesEveryEpochAnewButAlwaysTheSame) {
  const auto first = detail::Shuffled(100, 1), again = detail::Shuffled(100, 1), other = detail::Shuffled(100, 2);
  EXPECT_EQ(first, again);
  EXPECT_NE(first, other);
  auto sorted = first;
  std::sort(sorted.begin(), sorted.end());
  for (std::uint64_t i = 0; i < 100; ++i) EXPECT_EQ(sorted[i], i);
  EXPECT_TRUE(detail::Shuffled(0, 1).empty());
}

}  // namespace
}  // namespace sheaf::ml
