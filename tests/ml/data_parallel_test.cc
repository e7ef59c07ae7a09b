// The trainer against a sequential program that computes the same shard gradients and adds them in the same order.
#include "sheaf/ml/data_parallel.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "sheaf/error.h"
#include "tests/ml/sequential_training.h"

namespace sheaf::ml {
namespace {

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
  EXPECT_THROW(DataParallel<Mlp>(model, PutAll({MakeShard(model, 1), MakeShard(model, 2, 4)}), {.batch = kBatch}),
               Error);
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
