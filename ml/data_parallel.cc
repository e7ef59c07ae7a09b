// Room: ml. The tasks of DataParallel that do not depend on the model.
#include "sheaf/ml/data_parallel.h"

#include <cstring>
#include <numeric>
#include <string>

#include "sheaf/error.h"

namespace sheaf::ml::detail {

namespace {

// The states by rank; they were given with `rank`'s own first.
std::vector<const TrainState*> ByRank(const std::vector<TrainState>& states, std::uint64_t rank) {
  if (rank >= states.size()) throw Error("DataParallel: a step for a rank that does not exist");
  std::vector<const TrainState*> ordered;
  for (std::size_t i = 1; i < states.size(); ++i) ordered.push_back(&states[i]);
  ordered.insert(ordered.begin() + static_cast<std::ptrdiff_t>(rank), &states[0]);
  return ordered;
}

}  // namespace

TrainState ApplyGradients(const std::vector<TrainState>& states, std::uint64_t rank, const Sgd& sgd) {
  const auto ordered = ByRank(states, rank);
  const TrainState& own = states[0];
  TrainState next;
  if (own.gradient.empty()) {
    next.weights = own.weights;
    next.velocity = own.velocity;
    return next;
  }
  std::vector<std::span<const float>> gradients;
  double loss = 0;
  for (const TrainState* state : ordered) {
    gradients.push_back(state->gradient);
    loss += state->loss;
  }
  next.loss_sum = own.loss_sum + loss / static_cast<double>(states.size());
  ArrayBuilder<float> weights(own.weights.size()), velocity(sgd.momentum != 0 ? own.weights.size() : 0);
  sgd.Step(gradients, own.weights, own.velocity, weights.span(), velocity.span());
  next.weights = std::move(weights).Seal();
  next.velocity = std::move(velocity).Seal();
  return next;
}

Weights FinishTask(const std::vector<TrainState>& states, const Sgd& sgd, const std::vector<TensorSpec>& specs) {
  const TrainState last = ApplyGradients(states, 0, sgd);
  WeightsBuilder builder(specs);
  if (builder.Flat().size() != last.weights.size()) {
    throw Error("DataParallel: the model's Specs() have " + std::to_string(builder.Flat().size()) +
                " float32 values, but it has " + std::to_string(last.weights.size()) + " parameters");
  }
  std::memcpy(builder.Flat().data(), last.weights.data(), last.weights.size() * sizeof(float));
  return std::move(builder).Seal();
}

std::vector<std::uint64_t> Shuffled(std::uint64_t n, std::uint64_t seed) {
  std::vector<std::uint64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), std::uint64_t{0});
  std::uint64_t state = seed;
  for (std::uint64_t i = n; i > 1; --i) {
    // splitmix64 (Steele, Lea, Flood 2014); the bias of the remainder is below 2^-40 for any data set that fits.
    std::uint64_t z = state += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    std::swap(order[static_cast<std::size_t>(i - 1)], order[static_cast<std::size_t>((z ^ (z >> 31)) % i)]);
  }
  return order;
}

void CheckTraining(std::size_t shards, std::size_t batch, std::size_t rows) {
  if (shards == 0) throw Error("DataParallel: no shards; give one to each rank");
  if (batch == 0 || batch > rows) {
    throw Error("DataParallel: a batch of " + std::to_string(batch) + " rows, but the smallest shard has " +
                std::to_string(rows));
  }
}

}  // namespace sheaf::ml::detail
