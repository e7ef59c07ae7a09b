// The classic loop: put the weights, one remote TrainBatch per batch with the weights' ref, aggregate, repeat.
//
// In Ray: weights = ray.put(w); updates = [train_batch.remote(b, weights) for b in batches]; w = mean(ray.get(updates)).
// Here the driver gets nothing: gradients, their mean and the next weights stay in the store, and each step's tasks
// wait for the step before by its ref.
#include <sheaf/ml.h>
#include <sheaf/sheaf.h>

#include <iostream>
#include <random>
#include <vector>

namespace ml = sheaf::ml;

struct Batch {
  sheaf::Array<float> x;  // rows of two coordinates
  sheaf::Array<std::uint8_t> y;
};

const ml::Mlp kModel({2, 32, 2});  // made before main, so workers have it too

// Points inside and outside a circle.
Batch MakeBatch(unsigned seed, std::size_t rows) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(-1, 1);
  sheaf::ArrayBuilder<float> x(2 * rows);
  sheaf::ArrayBuilder<std::uint8_t> y(rows);
  for (std::size_t i = 0; i < rows; ++i) {
    const float a = x.span()[2 * i] = uniform(random), b = x.span()[2 * i + 1] = uniform(random);
    y.span()[i] = a * a + b * b < 0.6f;
  }
  return {std::move(x).Seal(), std::move(y).Seal()};
}

ml::Weights TrainBatch(const Batch& batch, const ml::Weights& weights) {
  std::vector<float> gradient(kModel.parameters());
  kModel.Gradient(weights.Flat(), batch.x.span(), batch.y.span(), gradient);
  ml::WeightsBuilder updated(weights);
  for (std::size_t i = 0; i < gradient.size(); ++i) updated.Flat()[i] = weights.Flat()[i] - gradient[i];
  return std::move(updated).Seal();
}

double Accuracy(const Batch& batch, const ml::Weights& weights) {
  const std::size_t correct = kModel.CountCorrect(weights.Flat(), batch.x.span(), batch.y.span());
  return static_cast<double>(correct) / static_cast<double>(batch.y.size());
}

int main(int argc, char** argv) {
  sheaf::Init(argc, argv);
  std::vector<sheaf::ObjectRef<Batch>> batches;
  for (unsigned seed = 0; seed < 4; ++seed) batches.push_back(sheaf::Remote<MakeBatch>(seed, 512));

  ml::WeightsBuilder initial(kModel.Specs());
  kModel.Init(1, initial.Flat());
  sheaf::ObjectRef<ml::Weights> weights = sheaf::Put(std::move(initial).Seal());

  for (int step = 0; step < 300; ++step) {
    std::vector<sheaf::ObjectRef<ml::Weights>> updated;
    for (const auto& batch : batches) updated.push_back(sheaf::Remote<TrainBatch>(batch, weights));
    weights = ml::Aggregate(updated, ml::Mean{});
  }
  const double accuracy = sheaf::Remote<Accuracy>(sheaf::Remote<MakeBatch>(99u, 4096), weights).Get();
  std::cout << "accuracy on points never seen: " << accuracy << "\n";
  return accuracy > 0.95 ? 0 : 1;
}
