#include "runtime/patient_hooks.h"

#include <utility>

#include "runtime/submitter.h"

namespace sheaf::runtime {

void PatientHooks::Stop() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  added_.notify_all();
}

PatientHooks::~PatientHooks() {
  Stop();
  if (thread_.joinable()) thread_.join();
}

void PatientHooks::Add(std::vector<std::function<void()>> hooks) {
  std::lock_guard lock(mutex_);
  for (auto& hook : hooks) waiting_.push_back(std::move(hook));
  if (!thread_.joinable()) thread_ = std::thread([this] { Run(); });
  added_.notify_one();
}

void PatientHooks::Run() {
  ++Submitter::running_hooks;
  for (;;) {
    std::function<void()> hook;
    {
      std::unique_lock lock(mutex_);
      added_.wait(lock, [this] { return stop_ || !waiting_.empty(); });
      if (stop_) return;
      hook = std::move(waiting_.front());
      waiting_.pop_front();
    }
    try {
      hook();
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!stop_) throw;  // else it was waiting when everything ended
    }
  }
}

}  // namespace sheaf::runtime
