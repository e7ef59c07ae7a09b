// Room: examples. One line an epoch, and on a terminal a bar that moves while it runs.
#pragma once

#include <chrono>
#include <cstdint>

namespace demo {

class Progress {
 public:
  Progress(std::int64_t epochs, std::int64_t steps_per_epoch, std::size_t samples_per_step);
  // `done` steps since the run began have finished.
  void Update(std::int64_t done);
  void EpochDone(std::int64_t epoch, double loss);
  double samples_per_second() const;  // over the whole run so far

 private:
  using Clock = std::chrono::steady_clock;
  double SecondsLeft(std::int64_t done) const;

  const std::int64_t epochs_, steps_per_epoch_;
  const double samples_per_step_;
  const bool terminal_;
  Clock::time_point epoch_start_, last_drawn_{};
  std::int64_t epoch_first_step_ = 0;
  double training_seconds_ = 0;
  double loss_ = 0;
};

}  // namespace demo
