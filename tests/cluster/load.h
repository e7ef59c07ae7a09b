// Work for a cluster whose parts die or stop: chains that cross, trees that wait for children, tasks that hand their children on; and
// what each must give.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "sheaf/sheaf.h"

namespace sheaf::test {

inline std::uint64_t Mix(std::uint64_t x) {
  for (int i = 0; i < 20'000; ++i) x = (x ^ (x >> 31)) * 0x9e3779b97f4a7c15u + 1;
  return x;
}
inline std::uint64_t Both(std::uint64_t a, std::uint64_t b) { return Mix(a * 3 + b); }
// Nested: waits for children of its own.
inline std::uint64_t Tree(int depth, std::uint64_t x) {
  if (depth == 0) return Mix(x);
  const ObjectRef<std::uint64_t> a = Remote<Tree>(depth - 1, 2 * x), b = Remote<Tree>(depth - 1, 2 * x + 1);
  return a.Get() * 31 + b.Get();
}
inline std::uint64_t TreeHere(int depth, std::uint64_t x) {
  return depth == 0 ? Mix(x) : TreeHere(depth - 1, 2 * x) * 31 + TreeHere(depth - 1, 2 * x + 1);
}

// Ends before its children do: whoever holds its value waits for them.
inline std::vector<ObjectRef<std::uint64_t>> Hand(std::uint64_t x) {
  return {Remote<Tree>(1, x), Remote<Mix>(x), Remote<Tree>(2, x)};
}

inline constexpr int kPatient = 1000;  // retries: each fault may cost one

// Chains that cross each other and trees, with what each must give.
class Load {
 public:
  void Submit(int chains, int length, int trees) {
    for (int c = 0; c < chains; ++c) {
      const auto seed = next_++;
      ObjectRef<std::uint64_t> at = sheaf::Task<Mix>({.retries = kPatient}).Remote(seed);
      std::uint64_t want = Mix(seed);
      for (int i = 0; i < length; ++i) {
        at = sheaf::Task<Both>({.retries = kPatient}).Remote(at, seed + static_cast<std::uint64_t>(i));
        want = Both(want, seed + static_cast<std::uint64_t>(i));
      }
      refs_.push_back(at);
      wants_.push_back(want);
    }
    for (int t = 0; t < trees; ++t) {
      const auto seed = next_++;
      refs_.push_back(sheaf::Task<Tree>({.retries = kPatient}).Remote(3, seed));
      wants_.push_back(TreeHere(3, seed));
      hands_.push_back(sheaf::Task<Hand>({.retries = kPatient}).Remote(seed));
      hand_seeds_.push_back(seed);
    }
  }
  // How many came as a typed error; a wrong value fails the test.
  int Collect() {
    int errors = 0;
    const auto take = [&](const char* what, std::size_t i, const auto& f) {
      try {
        f();
      } catch (const sheaf::TimeoutError& error) {
        ADD_FAILURE() << what << " " << i << " never came: " << error.what();
        return false;
      } catch (const sheaf::Error& error) {
        last_error = error.what();
        ++errors;
      }
      return true;
    };
    for (std::size_t i = 0; i < hands_.size(); ++i) {
      const std::uint64_t x = hand_seeds_[i];
      if (!take("hand", i, [&] {
            const auto children = hands_[i].Get(std::chrono::seconds(60));
            refs_.insert(refs_.end(), children.begin(), children.end());
            wants_.insert(wants_.end(), {TreeHere(1, x), Mix(x), TreeHere(2, x)});
          }))
        return -1;
    }
    hands_.clear();
    hand_seeds_.clear();
    for (std::size_t i = 0; i < refs_.size(); ++i)
      if (!take("result", i, [&] { EXPECT_EQ(refs_[i].Get(std::chrono::seconds(60)), wants_[i]) << i; })) return -1;
    refs_.clear();
    wants_.clear();
    return errors;
  }
  std::string last_error;

 private:
  std::uint64_t next_ = 1;
  std::vector<ObjectRef<std::uint64_t>> refs_;
  std::vector<std::uint64_t> wants_;
  std::vector<ObjectRef<std::vector<ObjectRef<std::uint64_t>>>> hands_;
  std::vector<std::uint64_t> hand_seeds_;
};

}  // namespace sheaf::test
