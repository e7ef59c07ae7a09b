// When a program that waits is told so: once, after nothing has run its tasks for a while, and once more when it goes on.
//
// Sans-IO: what is and the time in, what to say out. One owner thread; not synchronised.
#pragma once

#include <cstdint>

namespace sheaf {

class WaitWatch {
 public:
  enum class Say { kNothing, kWaits, kGoesOn };
  static constexpr std::int64_t kPatience = 3'000'000'000;

  // `waits`: some of its tasks have nobody to run them. `runs`: others, or the same by now, have.
  Say OnState(bool waits, bool runs, std::int64_t now) {
    if (!waits) {
      since_ = INT64_MAX;
      const bool told = told_;
      told_ = false;  // also when it wants nothing any more: then there is nothing to say
      return told && runs ? Say::kGoesOn : Say::kNothing;
    }
    if (since_ == INT64_MAX) since_ = now;
    if (told_ || now - since_ < kPatience) return Say::kNothing;
    told_ = true;
    return Say::kWaits;
  }

 private:
  std::int64_t since_ = INT64_MAX;
  bool told_ = false;
};

}  // namespace sheaf
