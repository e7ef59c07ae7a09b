// Runs hooks of objects that are ready while their bytes still lie on another machine: a hook that reads them waits, and must not do
// so on the helper's thread, which others wait for. A thread of its own, from the first such hook on.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace sheaf::runtime {

class PatientHooks {
 public:
  PatientHooks() = default;
  ~PatientHooks();  // what has not begun is dropped
  PatientHooks(const PatientHooks&) = delete;
  PatientHooks& operator=(const PatientHooks&) = delete;

  void Add(std::vector<std::function<void()>> hooks);
  void Stop();  // what runs may fail from now on, and nobody need hear of it; the destructor waits for it

 private:
  void Run();

  std::mutex mutex_;
  std::condition_variable added_;
  std::deque<std::function<void()>> waiting_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace sheaf::runtime
