// Waiting for many results: in the order in which they finish, for the first few, or for all.
//
// Standard library only: users compile this file.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "sheaf/detail/abi.h"
#include "sheaf/object_ref.h"

namespace sheaf::detail {

// What is left of a timeout that began when this was made.
class TimeLeft {
 public:
  explicit TimeLeft(Duration timeout) : forever_(timeout == kForever) {
    if (!forever_) end_ = std::chrono::steady_clock::now() + timeout;
  }
  Duration operator()() const {
    if (forever_) return kForever;
    const auto left = end_ - std::chrono::steady_clock::now();
    return left > Duration::zero() ? left : Duration::zero();
  }

 private:
  bool forever_;
  std::chrono::steady_clock::time_point end_;
};
// Waits until `count` of the refs are ready, or the time is up.
inline void WaitForSome(const std::vector<const RefCore*>& refs, std::size_t count, Duration timeout) {
  if (count > refs.size()) count = refs.size();
  std::size_t ready = 0;
  for (const RefCore* ref : refs) ready += IsReady(*ref);
  if (ready >= count) return;
  const TimeLeft left(timeout);
  const std::shared_ptr<ReadyQueue> queue = MakeReadyQueue();
  for (const RefCore* ref : refs) AddToQueue(queue, *ref, 0);
  std::size_t token = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (!NextReady(*queue, &token, left())) return;
  }
}

}  // namespace sheaf::detail

namespace sheaf {

// Hands out refs in the order in which they become ready, O(1) each. Failed results are ready too:
// Get() throws. Not thread-safe: one thread at a time.
template <class T>
class Completions {
 public:
  // Returns the number under which Next() will report `ref`: 0, 1, 2, ...
  std::size_t Add(ObjectRef<T> ref) {
    if (!ref) detail::ThrowEmptyRef();
    if (!queue_) queue_ = detail::MakeReadyQueue();
    const std::size_t token = next_++;
    const auto& kept = waiting_.emplace(token, std::move(ref)).first->second;
    detail::AddToQueue(queue_, detail::RefAccess::Core(kept), token);
    return token;
  }
  // The next ready ref with its number; nothing when all were handed out or the time is up.
  std::optional<std::pair<std::size_t, ObjectRef<T>>> Next(Duration timeout = kForever) {
    std::size_t token = 0;
    if (waiting_.empty() || !detail::NextReady(*queue_, &token, timeout)) return std::nullopt;
    const auto found = waiting_.find(token);
    std::optional<std::pair<std::size_t, ObjectRef<T>>> next;
    next.emplace(token, std::move(found->second));
    waiting_.erase(found);
    return next;
  }
  // Refs that were not handed out yet.
  std::size_t size() const { return waiting_.size(); }

 private:
  std::shared_ptr<detail::ReadyQueue> queue_;
  std::unordered_map<std::size_t, ObjectRef<T>> waiting_;
  std::size_t next_ = 0;
};

template <class T>
struct WaitResult {
  std::vector<ObjectRef<T>> ready, pending;  // each in the order given
};

// Waits until `count` refs (or all, if there are fewer) are ready, or the time is up.
// O(refs.size()) per call: to take results as they finish use Completions.
template <class T>
WaitResult<T> Wait(const std::vector<ObjectRef<T>>& refs, std::size_t count = 1, Duration timeout = kForever) {
  std::vector<const detail::RefCore*> cores;
  cores.reserve(refs.size());
  for (const auto& ref : refs) {
    if (!ref) detail::ThrowEmptyRef();
    cores.push_back(&detail::RefAccess::Core(ref));
  }
  detail::WaitForSome(cores, count, timeout);
  WaitResult<T> result;
  for (const auto& ref : refs) (ref.Ready() ? result.ready : result.pending).push_back(ref);
  return result;
}

// All values, in the order of the refs. Throws what the first failed one threw. `timeout` is for all together.
template <class T>
std::vector<T> Get(const std::vector<ObjectRef<T>>& refs, Duration timeout = kForever) {
  const detail::TimeLeft left(timeout);
  std::vector<T> values;
  values.reserve(refs.size());
  for (const auto& ref : refs) values.push_back(ref.Get(left()));
  return values;
}
inline void Get(const std::vector<ObjectRef<void>>& refs, Duration timeout = kForever) {
  const detail::TimeLeft left(timeout);
  for (const auto& ref : refs) ref.Get(left());
}

}  // namespace sheaf
