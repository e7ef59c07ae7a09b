// Room: examples. Draws at most 20 times a second, and only where somebody can see it move.
#include "examples/demo/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>

namespace demo {
namespace {

constexpr int kWidth = 30;
constexpr auto kRedraw = std::chrono::milliseconds(50);

double Seconds(std::chrono::steady_clock::duration d) { return std::chrono::duration<double>(d).count(); }

}  // namespace

Progress::Progress(std::int64_t epochs, std::int64_t steps_per_epoch, std::size_t samples_per_step)
    : epochs_(epochs),
      steps_per_epoch_(steps_per_epoch),
      samples_per_step_(static_cast<double>(samples_per_step)),
      terminal_(isatty(STDOUT_FILENO) == 1),
      epoch_start_(Clock::now()) {}

double Progress::samples_per_second() const {
  return training_seconds_ > 0 ? static_cast<double>(epoch_first_step_) * samples_per_step_ / training_seconds_ : 0;
}

double Progress::SecondsLeft(std::int64_t done) const {
  const double so_far = training_seconds_ + Seconds(Clock::now() - epoch_start_);
  return done > 0 ? so_far / static_cast<double>(done) * static_cast<double>(epochs_ * steps_per_epoch_ - done) : 0;
}

void Progress::Update(std::int64_t done) {
  const auto now = Clock::now();
  if (!terminal_ || now - last_drawn_ < kRedraw) return;
  last_drawn_ = now;
  const std::int64_t in_epoch = done - epoch_first_step_;
  const double rate = static_cast<double>(in_epoch) * samples_per_step_ / std::max(1e-9, Seconds(now - epoch_start_));
  const int filled = static_cast<int>(in_epoch * kWidth / std::max<std::int64_t>(1, steps_per_epoch_));
  const std::string bar = std::string(static_cast<std::size_t>(std::clamp(filled, 0, kWidth)), '#') +
                          std::string(static_cast<std::size_t>(kWidth - std::clamp(filled, 0, kWidth)), '.');
  // The loss of the last whole epoch: a running one would have to be fetched, and the loop fetches nothing.
  char loss[16] = "......";
  if (loss_ > 0) std::snprintf(loss, sizeof loss, "%.4f", loss_);
  std::printf("\repoch %2lld/%lld [%s] loss %s  %6.0f samples/s  %.1f s left \033[K",
              static_cast<long long>(done / steps_per_epoch_ + 1), static_cast<long long>(epochs_), bar.c_str(), loss,
              rate, SecondsLeft(done));
  std::fflush(stdout);
}

void Progress::EpochDone(std::int64_t epoch, double loss) {
  const auto now = Clock::now();
  const double seconds = Seconds(now - epoch_start_);
  training_seconds_ += seconds;
  epoch_first_step_ = epoch * steps_per_epoch_;
  loss_ = loss;
  std::printf("%sepoch %2lld/%lld  loss %.4f  %6.0f samples/s  %.1f s left\n", terminal_ ? "\r\033[K" : "",
              static_cast<long long>(epoch), static_cast<long long>(epochs_), loss,
              static_cast<double>(steps_per_epoch_) * samples_per_step_ / std::max(1e-9, seconds),
              training_seconds_ / static_cast<double>(epoch) * static_cast<double>(epochs_ - epoch));
  std::fflush(stdout);
  epoch_start_ = Clock::now();
}

}  // namespace demo
