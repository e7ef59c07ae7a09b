// Seeded numbers that are the same on every machine, compiler and standard library: for
// simulations, back-offs and tests. Not for secrets.
//
// Algorithm: SplitMix64 (G. L. Steele Jr., D. Lea, C. H. Flood, "Fast splittable pseudorandom
// number generators", OOPSLA 2014). The standard library's distributions are not used: they differ
// between libraries.
#pragma once

#include <cstdint>

namespace sheaf {

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t Next();
  // Uniform in [0, bound); bound > 0. Without bias.
  std::uint64_t Below(std::uint64_t bound);
  // Uniform in [low, high].
  std::int64_t Between(std::int64_t low, std::int64_t high);
  // True once in `times` on average.
  bool OneIn(std::uint64_t times) { return Below(times) == 0; }
  // A generator of its own, so that one consumer's draws do not move another's.
  Random Split() { return Random(Next()); }

 private:
  std::uint64_t state_;
};

// FNV-1a over what is fed in: an order-dependent digest for comparing runs.
class Digest {
 public:
  void Feed(std::uint64_t value);
  void Feed(const char* text);
  std::uint64_t value() const { return value_; }

 private:
  std::uint64_t value_ = 0xcbf29ce484222325u;
};

}  // namespace sheaf
