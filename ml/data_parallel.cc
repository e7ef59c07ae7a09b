// Room: ml. The tasks of DataParallel that do not depend on the model.
#include "sheaf/ml/data_parallel.h"

#include <cstring>
#include <numeric>
#include <string>

#include "sheaf/error.h"

namespace sheaf::ml::detail {

TrainPiece UpdateTask(const TrainPiece& piece, const std::vector<TrainGradient>& gradients, const Sgd& sgd,
                      const Extent& extent) {
  const std::size_t size = piece.weights.size();
  ArrayBuilder<float> weights(size), velocity(sgd.momentum != 0 ? size : 0);
  std::vector<std::span<const float>> parts;
  double loss = 0;
  for (const TrainGradient& gradient : gradients) {
    parts.push_back(gradient.values.span().subspan(extent.begin, extent.end - extent.begin));
    loss += gradient.loss;
  }
  sgd.Step(parts, piece.weights, piece.velocity, weights.span(), velocity.span());
  return {std::move(weights).Seal(), std::move(velocity).Seal(),
          piece.loss + loss / static_cast<double>(gradients.size())};
}

Weights JoinTask(const std::vector<TrainPiece>& pieces, const std::vector<TensorSpec>& specs) {
  WeightsBuilder builder(specs);
  auto room = builder.Flat();
  for (const TrainPiece& piece : pieces) {
    const auto part = piece.weights.span();
    if (part.size() > room.size()) throw Error("DataParallel: the pieces are larger than the model");
    std::memcpy(room.data(), part.data(), part.size_bytes());
    room = room.subspan(part.size());
  }
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
