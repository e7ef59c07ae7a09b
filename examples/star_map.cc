// Python's pool.starmap(train_subset, [(model, subset), ...]): train a model on each subset, then average.
//
// There every worker unpickles its own copy of the model and of its subset. Here both are put once into shared memory
// and all workers read them in place.
#include <sheaf/sheaf.h>

#include <cmath>
#include <iostream>
#include <random>
#include <vector>

using Model = sheaf::Array<double>;  // intercept and slope

struct Subset {
  sheaf::Array<double> x, y;
};

Subset MakeSubset(unsigned seed, std::size_t rows) {  // y = 2 + 3x, with noise
  std::mt19937 random(seed);
  std::normal_distribution<double> noise(0, 0.1);
  sheaf::ArrayBuilder<double> x(rows), y(rows);
  for (std::size_t i = 0; i < rows; ++i) {
    x.span()[i] = static_cast<double>(i) / static_cast<double>(rows);
    y.span()[i] = 2 + 3 * x.span()[i] + noise(random);
  }
  return {std::move(x).Seal(), std::move(y).Seal()};
}

// Gradient descent on one subset, starting from the shared model.
Model TrainSubset(const Model& model, const Subset& subset) {
  double intercept = model[0], slope = model[1];
  const auto x = subset.x.span(), y = subset.y.span();
  for (int step = 0; step < 500; ++step) {
    double d_intercept = 0, d_slope = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double error = intercept + slope * x[i] - y[i];
      d_intercept += error;
      d_slope += error * x[i];
    }
    intercept -= d_intercept / static_cast<double>(x.size());
    slope -= d_slope / static_cast<double>(x.size());
  }
  const std::vector<double> trained = {intercept, slope};
  return Model::Copy(trained);
}

int main(int argc, char** argv) {
  sheaf::Init(argc, argv);
  const std::vector<double> zero = {0, 0};
  const sheaf::ObjectRef<Model> model = sheaf::Put(Model::Copy(zero));

  std::vector<sheaf::ObjectRef<Model>> trained;  // starmap's loop
  for (unsigned seed = 0; seed < 8; ++seed) {
    trained.push_back(sheaf::Remote<TrainSubset>(model, sheaf::Remote<MakeSubset>(seed, 10000)));
  }
  double intercept = 0, slope = 0;
  for (const Model& one : sheaf::Get(trained)) {
    intercept += one[0] / static_cast<double>(trained.size());
    slope += one[1] / static_cast<double>(trained.size());
  }
  std::cout << "y = " << intercept << " + " << slope << " x\n";
  return std::abs(intercept - 2) < 0.02 && std::abs(slope - 3) < 0.02 ? 0 : 1;
}
