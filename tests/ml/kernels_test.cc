// Every instruction set must give the bits of the plain loops, at every length around the vector and piece sizes.
#include "ml/kernels.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace sheaf::ml {
namespace {

std::vector<const Kernels*> Tables() {
  const Kernels* tables[3];
  const std::size_t count = AllKernels(tables);
  return {tables, tables + count};
}

std::vector<float> Random(std::size_t n, unsigned seed) {
  std::mt19937 generator(seed);
  std::uniform_real_distribution<float> value(-2, 2);
  std::vector<float> v(n);
  for (float& x : v) x = value(generator);
  return v;
}

const std::size_t kLengths[] = {0, 1, 3, 7, 15, 16, 17, 63, 100, 2047, 2048, 2049, 5000};

TEST(Kernels, WeightedSumAddsFromLeftToRightInEverySet) {
  for (const std::size_t n : kLengths) {
    const auto a = Random(n, 1), b = Random(n, 2), c = Random(n, 3);
    const float* sources[] = {a.data(), b.data(), c.data()};
    const float scales[] = {0.25f, 0.3f, 0.45f};
    std::vector<float> expected(n);
    for (std::size_t i = 0; i < n; ++i) {
      volatile float x = a[i] * scales[0], y = b[i] * scales[1], z = c[i] * scales[2];
      volatile float xy = x + y;
      expected[i] = xy + z;
    }
    for (const Kernels* table : Tables()) {
      std::vector<float> out(n, -1);
      table->weighted_sum(sources, scales, 3, out.data(), n);
      EXPECT_EQ(out, expected) << table->name << " n=" << n;
    }
  }
}

TEST(Kernels, ScaledSumAgreesForOneToFourSources) {
  for (const std::size_t n : kLengths) {
    const std::vector<std::vector<float>> data = {Random(n, 4), Random(n, 5), Random(n, 6), Random(n, 7)};
    const float* sources[] = {data[0].data(), data[1].data(), data[2].data(), data[3].data()};
    for (std::size_t arrays = 1; arrays <= 4; ++arrays) {
      std::vector<float> expected(n);
      for (std::size_t i = 0; i < n; ++i) {
        volatile float sum = data[0][i];
        for (std::size_t k = 1; k < arrays; ++k) sum = sum + data[k][i];
        expected[i] = sum * 0.3f;
      }
      for (const Kernels* table : Tables()) {
        std::vector<float> out(n, -1);
        table->scaled_sum(sources, arrays, 0.3f, out.data(), n);
        EXPECT_EQ(out, expected) << table->name << " n=" << n << " arrays=" << arrays;
      }
    }
  }
}

TEST(Kernels, SumsBeyondTheCacheAreStreamedToTheSameBits) {
  const std::size_t n = (std::size_t{9} << 20) / sizeof(float) + 5;
  const auto a = Random(n, 8), b = Random(n, 9);
  const float* sources[] = {a.data(), b.data()};
  std::vector<float> room(n + 16);
  // Aligned and unaligned destinations take different paths.
  for (const std::size_t shift : {std::size_t{0}, std::size_t{1}}) {
    auto address = reinterpret_cast<std::uintptr_t>(room.data());
    float* out = room.data() + (64 - address % 64) % 64 / sizeof(float) + shift;
    for (const Kernels* table : Tables()) {
      std::memset(room.data(), 0, room.size() * sizeof(float));
      table->scaled_sum(sources, 2, 0.5f, out, n);
      for (std::size_t i = 0; i < n; ++i) {
        ASSERT_EQ(out[i], (a[i] + b[i]) * 0.5f) << table->name << " at " << i;
      }
    }
  }
}

TEST(Kernels, SgdFollowsItsFormulaInPlaceAndOut) {
  for (const std::size_t n : kLengths) {
    const auto g0 = Random(n, 10), g1 = Random(n, 11), w = Random(n, 12), v = Random(n, 13);
    const float* gradients[] = {g0.data(), g1.data()};
    for (const float momentum : {0.0f, 0.9f}) {
      std::vector<float> w_expected(n), v_expected(n);
      for (std::size_t i = 0; i < n; ++i) {
        volatile float sum = g0[i] + g1[i];
        volatile float mean = sum * 0.5f;
        volatile float penalty = 0.01f * w[i];
        volatile float d = mean + penalty;
        volatile float kept = momentum * v[i];
        volatile float next = momentum != 0 ? kept + d : d;
        volatile float step = 0.1f * next;
        v_expected[i] = next;
        w_expected[i] = w[i] - step;
      }
      for (const Kernels* table : Tables()) {
        std::vector<float> w_out(n), v_out(n), w_in_place = w, v_in_place = v;
        table->sgd(gradients, 2, 0.5f, 0.1f, momentum, 0.01f, w.data(), v.data(), w_out.data(), v_out.data(), n);
        EXPECT_EQ(w_out, w_expected) << table->name;
        if (momentum != 0) {
          EXPECT_EQ(v_out, v_expected) << table->name;
        }
        table->sgd(gradients, 2, 0.5f, 0.1f, momentum, 0.01f, w_in_place.data(), v_in_place.data(), w_in_place.data(),
                   v_in_place.data(), n);
        EXPECT_EQ(w_in_place, w_expected) << table->name;
      }
    }
  }
}

TEST(Kernels, LayerLoopsTreatEveryRowAlike) {
  constexpr std::size_t kRows = 5, kColumns = 19;
  const auto h = Random(kRows * kColumns, 14), bias = Random(kColumns, 15), d = Random(kRows * kColumns, 16);
  for (const Kernels* table : Tables()) {
    auto relu = h, add = h, masked = d;
    std::vector<float> sums(kColumns);
    table->bias_relu(relu.data(), bias.data(), kRows, kColumns);
    table->bias_add(add.data(), bias.data(), kRows, kColumns);
    table->relu_mask(masked.data(), relu.data(), masked.size());
    table->column_sum(d.data(), sums.data(), kRows, kColumns);
    for (std::size_t i = 0; i < h.size(); ++i) {
      const float sum = h[i] + bias[i % kColumns];
      EXPECT_EQ(add[i], sum);
      EXPECT_EQ(relu[i], sum > 0 ? sum : 0.0f);
      EXPECT_EQ(masked[i], relu[i] > 0 ? d[i] : 0.0f);
    }
    for (std::size_t c = 0; c < kColumns; ++c) {
      float sum = d[c];
      for (std::size_t r = 1; r < kRows; ++r) sum += d[r * kColumns + c];
      EXPECT_EQ(sums[c], sum) << table->name;
    }
  }
}

}  // namespace
}  // namespace sheaf::ml
