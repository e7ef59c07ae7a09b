// Carries a pool's membership in a cluster: a thread with a gRPC client around LinkCore.
//
// Linked by the pool of a cluster only, never by a worker or an embedded pool. The scheduler may be absent, restarted
// or silent: the pool notices nothing but lines in the log.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "scheduler/scheduler_client.h"
#include "worker/link_core.h"
#include "worker/pool_view.h"

namespace sheaf::worker {

class SchedulerLink {
 public:
  using Log = std::function<void(const std::string&)>;

  // Nothing is sent before the first Publish, which tells who the pool is.
  SchedulerLink(scheduler::ListenAddress address, std::string version, Log log);
  ~SchedulerLink();  // as Stop

  // What the next heartbeat says. Any thread; never blocks on the network.
  void Publish(const PoolView& view);

  // Leaves the cluster (half a second at most) and ends the thread. Call once, from one thread.
  void Stop();

 private:
  void Run();
  std::vector<LinkCore::Event> Carry(const std::vector<LinkCore::Action>& actions);

  const std::string version_;
  const Log log_;
  scheduler::SchedulerClient client_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<PoolView> view_;  // not yet taken by the thread
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace sheaf::worker
