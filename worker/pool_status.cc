// What the pool shows of itself: `sheaf status`, and the scheduler's heartbeat.
#include <sys/wait.h>
#include <unistd.h>

#include <set>

#include "worker/pool_server.h"

namespace sheaf {

std::uint64_t PoolServer::ExecutedBy(ClientId client) const {
  const auto at = memory_.find(client);
  if (at == memory_.end() || !at->second.header) return 0;
  return at->second.header->executed.load(std::memory_order_relaxed);
}

std::string PoolServer::DescribeExit(std::int32_t status) {
  if (WIFSIGNALED(status)) return "killed by signal " + std::to_string(WTERMSIG(status));
  return "exited with code " + std::to_string(WEXITSTATUS(status));
}

PoolView PoolServer::View() const {
  PoolView view;
  view.pool_id = options_.pool_id.empty() ? "pool-" + std::to_string(getppid()) : options_.pool_id;
  view.incarnation = page_.page()->epoch;
  view.pid = static_cast<std::uint32_t>(getpid());
  view.supervisor_pid = static_cast<std::uint32_t>(getppid());
  view.address = options_.socket_path;
  char name[256] = {};
  gethostname(name, sizeof name - 1);
  view.machine = name;
  view.scheduler = options_.scheduler;
  view.draining = stopping_;
  view.uptime_ms = static_cast<std::uint64_t>((now_ - started_) / kMilli);
  view.slots = static_cast<int>(slots_);
  view.segment_bytes = core_->used_bytes();
  view.budget_bytes = core_->budget_bytes();
  view.workers_died = workers_died_;
  std::set<ClientId> leased;
  for (const auto& [pair, state] : leases_->pairs()) leased.insert(pair.second);
  std::map<ClientId, JobView> jobs;
  for (const auto& [id, client] : core_->clients()) {
    JobView& job = jobs[client.job];
    job.segment_bytes += client.bytes;
    const std::uint64_t executed = client.state == wire::ClientState::kDead ? 0 : ExecutedBy(id);
    if (client.state == wire::ClientState::kDead) continue;  // counted when it died
    ++view.clients;
    job.tasks_executed += executed;
    if (client.role == wire::Role::kDriver) {
      job.driver_pid = static_cast<std::uint32_t>(memory_.contains(id) ? memory_.at(id).pid : 0);
      continue;
    }
    if (client.state != wire::ClientState::kAlive || client.role == wire::Role::kRelay) continue;
    ++job.workers;
    ++view.workers_running;
    leased.contains(id) ? ++view.slots_leased : ++view.workers_idle;
  }
  view.tasks_executed = executed_before_;
  for (auto& [id, job] : jobs) {
    if (const auto at = jobs_.find(id); at != jobs_.end()) {
      job.program = at->second.program;
      job.tasks_executed += at->second.executed_before;
    }
    view.tasks_executed += job.tasks_executed;
    view.jobs.push_back(job);
  }
  if (neighbours_) {
    view.offer = Offer();
    view.report = Report();
  }
  return view;
}

}  // namespace sheaf
