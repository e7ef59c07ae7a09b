// How a benchmark program measures and reports: clock, quantiles, one JSON line a round.
//
// A program takes one round of its figures and ends; bench/run.py starts it again for each round, in
// turn with the limits it is compared with, so that a noisy machine disturbs both alike.
// The line is {"key": {"p50": .., "p99": .., "n": ..}, "key": {"null": "reason"}, ...}.
// Standard library only; one thread.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

namespace bench {

// CLOCK_MONOTONIC: the same in all processes of a machine.
inline std::int64_t NowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

inline void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Keeps the compiler from throwing away what computes `value`.
template <class T>
inline void Keep(const T& value) {
  asm volatile("" : : "r,m"(value) : "memory");
}

class Samples {
 public:
  explicit Samples(std::size_t room = 1024) { values_.reserve(room); }
  void Add(double value) { values_.push_back(value); }
  std::size_t size() const { return values_.size(); }
  // The value below which a share `q` of the samples lies; 0 without samples.
  double Quantile(double q) const {
    if (values_.empty()) return 0;
    std::vector<double> sorted = values_;
    const auto at = static_cast<std::size_t>(q * static_cast<double>(sorted.size() - 1) + 0.5);
    std::nth_element(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(at), sorted.end());
    return sorted[at];
  }

 private:
  std::vector<double> values_;
};

// The line of one round.
class Report {
 public:
  // `worst` is the quantile that is the bad end: 0.99 for times, 0.01 for rates.
  void Add(const std::string& key, const Samples& samples, double worst = 0.99) {
    Field(key, Number("p50", samples.Quantile(0.5)) + ", " + Number("p99", samples.Quantile(worst)) +
                   ", \"n\": " + std::to_string(samples.size()));
  }
  void Add(const std::string& key, double value) { Field(key, Number("p50", value) + ", \"n\": 1"); }
  // A figure that cannot be taken here.
  void Missing(const std::string& key, const std::string& reason) {
    std::string escaped;
    for (const char c : reason) {
      if (c == '"' || c == '\\') escaped += '\\';
      escaped += c == '\n' ? ' ' : c;
    }
    Field(key, "\"null\": \"" + escaped + "\"");
  }
  void Print() const {
    std::printf("{%s}\n", text_.c_str());
    std::fflush(stdout);
  }

 private:
  static std::string Number(const char* name, double value) {
    char text[64];
    std::snprintf(text, sizeof text, "\"%s\": %.6g", name, value);
    return text;
  }
  void Field(const std::string& key, const std::string& fields) {
    if (!text_.empty()) text_ += ", ";
    text_ += "\"" + key + "\": {" + fields + "}";
  }
  std::string text_;
};

// `--name VALUE` from the command line.
inline std::string Flag(int argc, char** argv, const std::string& name, std::string otherwise) {
  for (int i = 1; i + 1 < argc; ++i) {
    if ("--" + name == argv[i]) return argv[i + 1];
  }
  return otherwise;
}
inline std::int64_t Flag(int argc, char** argv, const std::string& name, std::int64_t otherwise) {
  return std::strtoll(Flag(argc, argv, name, std::to_string(otherwise)).c_str(), nullptr, 10);
}

[[noreturn]] inline void Die(const std::string& why) {
  std::fprintf(stderr, "bench: %s\n", why.c_str());
  std::exit(1);
}

}  // namespace bench
