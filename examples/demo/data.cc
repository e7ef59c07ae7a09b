// Room: examples. Runs in the driver, once; rows are written straight into shared memory.
#include "examples/demo/data.h"

#include <filesystem>
#include <numeric>
#include <random>

namespace demo {
namespace {

namespace ml = sheaf::ml;

// Of the training pixels divided by 255.
constexpr float kMean = 0.286f, kDeviation = 0.353f;

struct Images {
  ml::Tensor pixels, labels;
};

Images Read(const std::filesystem::path& folder, const std::string& prefix) {
  const auto images = folder / (prefix + "-images-idx3-ubyte.gz"), labels = folder / (prefix + "-labels-idx1-ubyte.gz");
  if (!std::filesystem::exists(images)) {
    throw sheaf::Error(images.string() +
                       " does not exist: apt-get install dataset-fashion-mnist, or give --data FOLDER");
  }
  Images read{ml::ReadIdx(images), ml::ReadIdx(labels)};
  if (read.pixels.rank() != 3 || read.labels.rank() != 1 || read.pixels.shape()[0] != read.labels.shape()[0]) {
    throw sheaf::Error(images.string() + " and its labels do not belong together");
  }
  return read;
}

ml::Shard MakeShard(const Images& images, std::span<const std::uint32_t> rows) {
  const auto pixels = images.pixels.span<std::uint8_t>(), labels = images.labels.span<std::uint8_t>();
  const std::size_t width = pixels.size() / labels.size();
  float scaled[256];
  for (int i = 0; i < 256; ++i) scaled[i] = (static_cast<float>(i) / 255.0f - kMean) / kDeviation;
  sheaf::ArrayBuilder<float> x(rows.size() * width);
  sheaf::ArrayBuilder<std::uint8_t> y(rows.size());
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const std::uint8_t* from = pixels.data() + rows[r] * width;
    float* to = x.span().data() + r * width;
    for (std::size_t i = 0; i < width; ++i) to[i] = scaled[from[i]];
    y.span()[r] = labels[rows[r]];
  }
  return {std::move(x).Seal(), std::move(y).Seal()};
}

std::vector<sheaf::ObjectRef<ml::Shard>> Deal(const Images& images, std::span<const std::uint32_t> rows,
                                              std::size_t shards, bool equal) {
  std::vector<sheaf::ObjectRef<ml::Shard>> dealt;
  const std::size_t each = rows.size() / shards;
  for (std::size_t shard = 0; shard < shards; ++shard) {
    const std::size_t begin = shard * each, end = !equal && shard + 1 == shards ? rows.size() : begin + each;
    dealt.push_back(sheaf::Put(MakeShard(images, rows.subspan(begin, end - begin))));
  }
  return dealt;
}

}  // namespace

Data LoadData(const std::string& folder, std::size_t shards, std::uint64_t seed) {
  const Images train = Read(folder, "train"), test = Read(folder, "t10k");
  Data data;
  std::vector<std::uint32_t> rows(train.labels.size());
  std::iota(rows.begin(), rows.end(), 0u);
  std::mt19937_64 generator(seed);
  // Not std::shuffle: its use of the generator is the library's choice.
  for (std::size_t i = rows.size(); i > 1; --i) std::swap(rows[i - 1], rows[generator() % i]);
  data.train = Deal(train, rows, shards, true);
  data.train_rows = rows.size() / shards;
  data.bytes = data.train_rows * shards * (train.pixels.size() / train.labels.size()) * sizeof(float);
  rows.resize(test.labels.size());
  std::iota(rows.begin(), rows.end(), 0u);
  data.test = Deal(test, rows, shards, false);
  data.test_rows = rows.size();
  return data;
}

}  // namespace demo
