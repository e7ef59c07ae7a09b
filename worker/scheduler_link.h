// Carries a pool's membership in a cluster: a thread with a gRPC client around LinkCore.
//
// Linked by the pool of a cluster only, never by a worker or an embedded pool. The scheduler may be absent, restarted
// or silent: the pool notices nothing but lines in the log.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "scheduler/scheduler_client.h"
#include "worker/link_core.h"
#include "worker/pool_main.h"
#include "worker/pool_view.h"

namespace sheaf::worker {

class SchedulerLink final : public Neighbours {
 public:
  using Log = std::function<void(const std::string&)>;

  // Nothing is sent before the first Publish, which tells who the pool is. `pki`: directory of the pool's credentials, which
  // are renewed there; empty: in the clear.
  SchedulerLink(scheduler::ListenAddress address, std::string version, Log log, std::string pki = {});
  ~SchedulerLink();  // as Stop

  // What the next heartbeat says. Any thread; never blocks on the network.
  void Publish(const PoolView& view);

  // ---- for the pool's thread
  int fd() const override { return news_fd_.get(); }
  std::optional<News> Take() override;
  std::string Admit(const std::string& ticket, const HasRoom& has_room, Admitted* admitted) override;
  std::string Trouble() const override;

  // Leaves the cluster (half a second at most) and ends the thread. Call once, from one thread.
  void Stop();

 private:
  void Run();
  void Tell(News news);
  void Remember(std::uint64_t grant);
  News NewsIn(const scheduler::HeartbeatArrived& beat, scheduler::HeartbeatResult& result, std::int64_t asked) const;
  std::vector<LinkCore::Event> Carry(const std::vector<LinkCore::Action>& actions);

  const std::string version_;
  const Log log_;
  void RenewIfDue();

  const scheduler::ListenAddress address_;
  const std::string pki_;
  scheduler::Credentials credentials_;
  std::int64_t renew_below_ = 0;  // seconds left of the certificate
  std::int64_t renew_again_ = 0;
  std::unique_ptr<scheduler::SchedulerClient> client_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<PoolView> view_;  // not yet taken by the thread
  bool stopping_ = false;
  Fd news_fd_;
  std::optional<News> news_;
  std::string pool_id_, cluster_id_, lender_key_, trouble_;
  std::uint64_t incarnation_ = 0, epoch_ = 0;
  bool fenced_ = true;
  std::set<std::uint64_t> used_;  // grants whose tickets were shown, or whose borrower was lost
  std::int64_t fence_after_ = 0;  // the link's thread only
  std::thread thread_;
};

}  // namespace sheaf::worker
