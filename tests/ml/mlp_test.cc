#include "sheaf/ml/mlp.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <stdexcept>
#include <vector>

#include "sheaf/ml/sgd.h"

namespace sheaf::ml {
namespace {

struct Sample {
  std::vector<float> x;
  std::vector<std::uint8_t> y;
};
Sample RandomBatch(const Mlp& model, std::size_t rows, unsigned seed) {
  std::mt19937 generator(seed);
  std::uniform_real_distribution<float> value(0, 1);
  Sample sample{std::vector<float>(rows * model.inputs()), std::vector<std::uint8_t>(rows)};
  for (float& x : sample.x) x = value(generator);
  for (auto& y : sample.y) y = static_cast<std::uint8_t>(generator() % model.classes());
  return sample;
}

TEST(Mlp, CountsItsParametersAndNamesThem) {
  const Mlp model({784, 128, 10});
  EXPECT_EQ(model.parameters(), 101770u);
  EXPECT_EQ(Mlp({784, 512, 512, 10}).parameters(), 669706u);
  const auto specs = model.Specs();
  ASSERT_EQ(specs.size(), 4u);
  EXPECT_EQ(specs[0].name, "layers.0.weight");
  EXPECT_EQ(specs[0].shape, (Shape{784, 128}));
  EXPECT_EQ(specs[3].shape, (Shape{10}));
}

TEST(Mlp, GradientMatchesFiniteDifferences) {
  const Mlp model({6, 5, 4, 3});
  std::vector<float> weights(model.parameters()), gradient(model.parameters()), ignored(model.parameters());
  model.Init(3, weights);
  for (std::size_t i = 0; i < weights.size(); ++i) weights[i] += 0.01f * static_cast<float>(i % 7);  // biases too
  const auto batch = RandomBatch(model, 9, 5);
  model.Gradient(weights, batch.x, batch.y, gradient);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const float kept = weights[i], h = 1e-3f;  // small: few ReLU kinks within reach
    weights[i] = kept + h;
    const double above = model.Gradient(weights, batch.x, batch.y, ignored);
    weights[i] = kept - h;
    const double below = model.Gradient(weights, batch.x, batch.y, ignored);
    weights[i] = kept;
    EXPECT_NEAR(gradient[i], (above - below) / (2 * h), 2e-3) << "parameter " << i;
  }
}

TEST(Mlp, TheMeanOfTwoShardsIsTheGradientOfBoth) {
  const Mlp model({20, 10, 4});
  std::vector<float> weights(model.parameters());
  std::vector<float> both(model.parameters()), first(model.parameters()), second(model.parameters());
  model.Init(9, weights);
  const auto batch = RandomBatch(model, 16, 3);
  const std::span<const float> x(batch.x);
  const std::span<const std::uint8_t> y(batch.y);
  const double loss = model.Gradient(weights, x, y, both);
  const double loss_first = model.Gradient(weights, x.first(8 * 20), y.first(8), first);
  const double loss_second = model.Gradient(weights, x.subspan(8 * 20), y.subspan(8), second);
  EXPECT_NEAR(loss, (loss_first + loss_second) / 2, 1e-6);
  for (std::size_t i = 0; i < both.size(); ++i) EXPECT_NEAR(both[i], (first[i] + second[i]) / 2, 1e-6);
}

TEST(Mlp, LearnsASeparableProblemAndRepeatsItself) {
  const Mlp model({2, 16, 2});
  std::mt19937 generator(1);
  std::uniform_real_distribution<float> value(-1, 1);
  std::vector<float> x;
  std::vector<std::uint8_t> y;
  for (int i = 0; i < 256; ++i) {
    const float a = value(generator), b = value(generator);
    x.insert(x.end(), {a, b});
    y.push_back(a * b > 0);
  }
  const auto train = [&] {
    std::vector<float> weights(model.parameters()), velocity(model.parameters()), gradient(model.parameters());
    model.Init(4, weights);
    const Sgd sgd{.rate = 0.2f, .momentum = 0.9f};
    for (int step = 0; step < 200; ++step) {
      model.Gradient(weights, x, y, gradient);
      const std::span<const float> one[] = {gradient};
      sgd.Step(one, weights, velocity, weights, velocity);
    }
    return weights;
  };
  const auto weights = train();
  double loss = 1;
  EXPECT_GE(model.CountCorrect(weights, x, y, &loss), 245u);
  EXPECT_LT(loss, 0.2);
  EXPECT_EQ(weights, train());
}

TEST(Mlp, RefusesWhatDoesNotFit) {
  EXPECT_THROW(Mlp({5}), std::invalid_argument);
  EXPECT_THROW(Mlp({5, 0, 2}), std::invalid_argument);
  EXPECT_THROW(Mlp({5, 257}), std::invalid_argument);
  const Mlp model({3, 2});
  std::vector<float> weights(model.parameters()), gradient(model.parameters()), x(6);
  const std::vector<std::uint8_t> good = {0, 1}, bad = {0, 2}, none;
  EXPECT_NO_THROW(model.Gradient(weights, x, good, gradient));
  EXPECT_THROW(model.Gradient(weights, x, bad, gradient), std::invalid_argument);
  EXPECT_THROW(model.Gradient(weights, x, none, gradient), std::invalid_argument);
  EXPECT_THROW(model.Gradient(weights, std::span(x).first(5), good, gradient), std::invalid_argument);
  EXPECT_THROW(model.Gradient(std::span(weights).first(7), x, good, gradient), std::invalid_argument);
}

TEST(Schedule, WarmsUpThenFallsAlongACosine) {
  const Schedule schedule{.warmup = 4, .total = 104, .final = 0.1f};
  EXPECT_FLOAT_EQ(schedule.Factor(0), 0.25f);
  EXPECT_FLOAT_EQ(schedule.Factor(3), 1.0f);
  EXPECT_NEAR(schedule.Factor(54), 0.55f, 1e-5);
  EXPECT_NEAR(schedule.Factor(104), 0.1f, 1e-6);
  EXPECT_NEAR(schedule.Factor(1000), 0.1f, 1e-6);
  EXPECT_FLOAT_EQ(Schedule{}.Factor(12345), 1.0f);
}

TEST(Sgd, RefusesSpansOfDifferentSizes) {
  std::vector<float> w(4), v(4), g(3);
  const std::span<const float> gradients[] = {g};
  EXPECT_THROW(Sgd{}.Step(gradients, w, v, w, v), std::invalid_argument);
  EXPECT_THROW(Sgd{}.Step({}, w, v, w, v), std::invalid_argument);
}

}  // namespace
}  // namespace sheaf::ml
