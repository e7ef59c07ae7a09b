// Virtual time, seeded chance and a digest: the stage that the simulated processes stand on.
//
// Nothing here depends on the machine, the compiler or the standard library's hashing: the same
// seed gives the same digest everywhere.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>

#include "base/random.h"

namespace sheaf::simulation {

using Time = std::int64_t;  // nanoseconds
inline constexpr Time kMicro = 1'000, kMilli = 1'000'000, kSecond = 1'000'000'000;

// What must not happen has happened.
struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class World {
 public:
  explicit World(std::uint64_t seed) : random(seed) {}

  void After(Time delay, std::function<void()> what) {
    events_.emplace(std::pair{now + std::max<Time>(delay, 1), next_++}, std::move(what));
  }
  // False: nothing is left to happen.
  bool Step() {
    if (events_.empty()) return false;
    auto first = events_.begin();
    now = first->first.first;
    const auto what = std::move(first->second);
    events_.erase(first);
    ++steps;
    what();
    return true;
  }
  void Note(const char* what, std::uint64_t a = 0, std::uint64_t b = 0, std::uint64_t c = 0) {
    digest.Feed(what);
    digest.Feed(static_cast<std::uint64_t>(now));
    digest.Feed(a);
    digest.Feed(b);
    digest.Feed(c);
    if (tracing) {
      trace += std::to_string(now / kMicro) + " " + what + " " + std::to_string(a) + " " + std::to_string(b) + " " +
               std::to_string(c) + "\n";
    }
  }
  void Note(const std::string& line) { Note(line.c_str()); }
  Time Chance(Time low, Time high) { return random.Between(low, high); }

  Time now = 0;
  Random random;
  Digest digest;
  std::uint64_t steps = 0;
  bool tracing = false;
  std::string trace;

 private:
  std::map<std::pair<Time, std::uint64_t>, std::function<void()>> events_;
  std::uint64_t next_ = 0;
};

}  // namespace sheaf::simulation
