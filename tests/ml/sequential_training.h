// A made-up problem, and data-parallel training of it without tasks: what the trainer must equal, bit by bit.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "sheaf/ml/data_parallel.h"

namespace sheaf::ml {

inline constexpr std::size_t kRows = 40, kBatch = 8;

inline Shard MakeShard(const Mlp& model, unsigned seed, std::size_t rows = kRows) {
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
inline Outcome Sequential(const Mlp& model, const std::vector<Shard>& shards, const TrainOptions& options,
                          std::int64_t steps) {
  std::vector<float> weights(model.parameters()), velocity(model.parameters());
  model.Init(options.seed, weights);
  std::vector<std::vector<float>> gradients(shards.size(), std::vector<float>(model.parameters()));
  double loss = 0;
  const std::int64_t per_epoch = kRows / kBatch;
  for (std::int64_t step = 0; step < steps; ++step) {
    const auto order = detail::Shuffled(per_epoch, options.seed + (static_cast<std::uint64_t>(step / per_epoch) << 32));
    const std::uint64_t row = order[static_cast<std::size_t>(step % per_epoch)] * kBatch;
    std::vector<std::span<const float>> parts;
    double sum = 0;
    for (std::size_t i = 0; i < shards.size(); ++i) {
      sum += model.Gradient(weights, shards[i].x.span().subspan(row * model.inputs(), kBatch * model.inputs()),
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

inline std::vector<ObjectRef<Shard>> PutAll(const std::vector<Shard>& shards) {
  std::vector<ObjectRef<Shard>> refs;
  for (const Shard& shard : shards) refs.push_back(Put(shard));
  return refs;
}

}  // namespace sheaf::ml
