// A state store in memory, for tests: counts, can be made to fail, and can hold its caller until it is let go.
#pragma once

#include <condition_variable>
#include <map>
#include <mutex>
#include <string>

#include "scheduler/state_store.h"

namespace sheaf::scheduler {

class MemoryState final : public StateStore {
 public:
  StateStatus Open(OpenedState* state) override {
    state->cluster_id = "cluster";
    state->epoch = 1;
    return {};
  }
  StateStatus PutPool(const PoolIdentity& pool) override {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !held_; });
    if (full_) return {StateFault::kFull, "no room in this test"};
    pools_[pool.pool_id] = pool;
    return {};
  }
  StateStatus ErasePool(std::string_view pool_id) override {
    std::lock_guard lock(mutex_);
    pools_.erase(std::string(pool_id));
    return {};
  }

  StateStatus ChangeGrants(const std::vector<GrantRecord>& put, const std::vector<std::uint64_t>& erase) override {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !held_; });
    if (full_) return {StateFault::kFull, "no room in this test"};
    for (const std::uint64_t grant : erase) grants_.erase(grant);
    for (const GrantRecord& grant : put) grants_[grant.id] = grant;
    ++batches_;
    return {};
  }

  void SetFull(bool full) {
    std::lock_guard lock(mutex_);
    full_ = full;
  }
  void Hold(bool held) {
    {
      std::lock_guard lock(mutex_);
      held_ = held;
    }
    changed_.notify_all();
  }
  std::size_t size() {
    std::lock_guard lock(mutex_);
    return pools_.size();
  }
  std::map<std::uint64_t, GrantRecord> grants() {
    std::lock_guard lock(mutex_);
    return grants_;
  }
  int batches() {
    std::lock_guard lock(mutex_);
    return batches_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool full_ = false, held_ = false;
  std::map<std::string, PoolIdentity> pools_;
  std::map<std::uint64_t, GrantRecord> grants_;
  int batches_ = 0;
};

}  // namespace sheaf::scheduler
