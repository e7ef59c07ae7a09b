// The ml layer on real workers: same bits as in one process, also when workers die on the way.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "sheaf/ml.h"
#include "sheaf/sheaf.h"
#include "tests/ml/sequential_training.h"

namespace sheaf::ml {
namespace {

// A perceptron that kills the process that computes its `kill_at`-th gradient there, once per marker file.
struct FragileMlp {
  Mlp mlp;
  std::string marker;
  std::int64_t kill_at = 0;

  std::size_t parameters() const { return mlp.parameters(); }
  std::size_t inputs() const { return mlp.inputs(); }
  std::vector<TensorSpec> Specs() const { return mlp.Specs(); }
  void Init(std::uint64_t seed, std::span<float> flat) const { mlp.Init(seed, flat); }
  double Gradient(std::span<const float> weights, std::span<const float> x, std::span<const std::uint8_t> y,
                  std::span<float> gradient) const {
    static std::map<std::string, std::int64_t> calls;  // of this process
    if (++calls[marker] == kill_at && open(marker.c_str(), O_CREAT | O_EXCL | O_CLOEXEC, 0600) >= 0)
      kill(getpid(), SIGKILL);
    return mlp.Gradient(weights, x, y, gradient);
  }
};

class Pool : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    setenv("SHEAF_WORKERS", "2", 0);
    Init();
  }
  static void TearDownTestSuite() { Shutdown(); }
};

const TrainOptions kOptions{.batch = kBatch,
                            .sgd = {.rate = 0.1f, .momentum = 0.9f, .decay = 1e-4f},
                            .schedule = {.warmup = 3, .total = 40},
                            .seed = 5,
                            .window = 6};

TEST_F(Pool, TrainerGivesTheSequentialBitsOnWorkers) {
  const Mlp model({12, 9, 4});
  const std::vector<Shard> shards = {MakeShard(model, 1), MakeShard(model, 2), MakeShard(model, 3)};
  DataParallel<Mlp> trainer(model, PutAll(shards), kOptions);
  const double loss = trainer.Run(40);
  const Outcome expected = Sequential(model, shards, kOptions, 40);
  const Weights weights = trainer.weights().Get();
  EXPECT_EQ(std::vector<float>(weights.Flat().begin(), weights.Flat().end()), expected.weights);
  EXPECT_DOUBLE_EQ(loss, expected.loss);
}

TEST_F(Pool, AKilledWorkerChangesNoBit) {
  const Mlp model({12, 9, 4});
  const std::vector<Shard> shards = {MakeShard(model, 1), MakeShard(model, 2)};
  const Outcome expected = Sequential(model, shards, kOptions, 40);
  for (const std::int64_t kill_at : {1, 7}) {
    const std::string marker =
        testing::TempDir() + "sheaf_ml_kill_" + std::to_string(getpid()) + "_" + std::to_string(kill_at);
    DataParallel<FragileMlp> trainer(FragileMlp{model, marker, kill_at}, PutAll(shards), kOptions);
    trainer.Run(40);
    const Weights weights = trainer.weights().Get();
    EXPECT_EQ(std::vector<float>(weights.Flat().begin(), weights.Flat().end()), expected.weights);
    EXPECT_TRUE(std::filesystem::remove(marker)) << "no worker was killed: the test proved nothing";
  }
}

Weights Scaled(const Weights& weights, float factor) {
  WeightsBuilder builder(weights);
  for (std::size_t i = 0; i < builder.Flat().size(); ++i) builder.Flat()[i] = weights.Flat()[i] * factor;
  return std::move(builder).Seal();
}

TEST_F(Pool, AggregateOfLargeWeightsStaysRightWhileBlocksAreReused) {
  WeightsBuilder builder({{"w", DType::kF32, {1 << 20}}, {"b", DType::kF32, {7}}});
  for (float& value : builder.Flat()) value = 1;
  auto weights = Put(std::move(builder).Seal());
  for (int round = 0; round < 30; ++round) {
    const std::vector<ObjectRef<Weights>> updates = {Remote<Scaled>(weights, 1.5f), Remote<Scaled>(weights, 0.5f)};
    weights = Aggregate(updates);
  }
  const Weights result = weights.Get();
  for (const float value : result.Flat()) ASSERT_EQ(value, 1.0f);
  EXPECT_EQ(result.Specs().size(), 2u);
}

struct Update {
  Array<double> sum;
  double loss = 0;
};
Update Times(const Array<double>& item, const double& factor) {
  ArrayBuilder<double> out(item.size());
  for (std::size_t i = 0; i < item.size(); ++i) out.span()[i] = item[i] * factor;
  return {std::move(out).Seal(), item[0]};
}
Update Fails(const Array<double>&, const double&) { throw std::out_of_range("no such batch"); }

TEST_F(Pool, MapMeanIsTheMeanOverAllItemsHoweverTheyAreGrouped) {
  std::vector<ObjectRef<Array<double>>> items;
  for (int i = 0; i < 10; ++i) items.push_back(Put(ArrayBuilder<double>(1000, static_cast<double>(i)).Seal()));
  const auto factor = Put(2.0);
  for (const std::size_t groups : {0, 1, 2, 3, 10, 50}) {
    const Update mean = MapMean<Times>(items, factor, {.groups = groups}).Get();
    EXPECT_DOUBLE_EQ(mean.sum[999], 9) << groups;
    EXPECT_DOUBLE_EQ(mean.loss, 4.5) << groups;
  }
}

TEST_F(Pool, MapMeanThrowsWhatARunThrewAndRefusesNothing) {
  const std::vector<ObjectRef<Array<double>>> items = {Put(ArrayBuilder<double>(1, 1.0).Seal())};
  try {
    MapMean<Fails>(items, Put(2.0)).Get();
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("no such batch"), std::string::npos) << error.what();
  }
  EXPECT_THROW(MapMean<Times>({}, Put(2.0)), Error);
}

Tensor FirstRows(const Tensor& tensor, std::uint64_t rows) { return tensor.Slice(0, rows); }

TEST_F(Pool, ATensorGoesToAWorkerAndBackWithoutACopy) {
  TensorBuilder builder(DType::kF32, {1000, 100});
  for (std::size_t i = 0; i < 100'000; ++i) builder.span<float>()[i] = static_cast<float>(i);
  const Tensor tensor = std::move(builder).Seal();
  const Tensor rows = Remote<FirstRows>(tensor, 10).Get();
  EXPECT_EQ(rows.shape(), (Shape{10, 100}));
  EXPECT_EQ(rows.span<float>().data(), tensor.span<float>().data());
}

std::int64_t RowsIn(const std::string& path) { return ReadIdx(path).shape()[0]; }

TEST_F(Pool, ADamagedFileReadByATaskIsATypedErrorWithAdvice) {
  try {
    Remote<RowsIn>(std::string("/proc/self/exe")).Get();
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("not an IDX file"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace sheaf::ml
