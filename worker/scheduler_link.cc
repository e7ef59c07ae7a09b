#include "worker/scheduler_link.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <random>
#include <utility>

#include "base/clock.h"

namespace sheaf::worker {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kCallDeadline{2000};
constexpr milliseconds kGoodbyeDeadline{500};

scheduler::PoolLoad LoadOf(const PoolView& view) {
  const auto count = [](int n) { return static_cast<std::uint32_t>(std::max(n, 0)); };
  scheduler::PoolLoad load;
  load.slots = count(view.slots);
  load.slots_leased = count(view.slots_leased);
  load.workers_running = count(view.workers_running);
  load.workers_idle = count(view.workers_idle);
  load.clients = count(view.clients);
  load.segment_bytes = view.segment_bytes;
  load.budget_bytes = view.budget_bytes;
  load.tasks_executed = view.tasks_executed;
  load.workers_died = view.workers_died;
  return load;
}

}  // namespace

SchedulerLink::SchedulerLink(scheduler::ListenAddress address, std::string version, Log log)
    : version_(std::move(version)), log_(std::move(log)), client_(address), thread_([this] { Run(); }) {}

SchedulerLink::~SchedulerLink() { Stop(); }

void SchedulerLink::Publish(const PoolView& view) {
  {
    std::lock_guard lock(mutex_);
    view_ = view;
  }
  changed_.notify_one();
}

void SchedulerLink::Stop() {
  if (!thread_.joinable()) return;
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_one();
  client_.Cancel();
  thread_.join();
}

void SchedulerLink::Run() {
  std::unique_ptr<LinkCore> core;
  bool leaving = false;
  while (core == nullptr || !core->ended()) {
    std::optional<PoolView> view;
    {
      std::unique_lock lock(mutex_);
      const auto news = [&] { return view_.has_value() || (stopping_ && !leaving); };
      const auto due = core ? core->NextDeadline() : scheduler::kNever;
      if (due == scheduler::kNever) {
        changed_.wait(lock, news);
      } else {
        changed_.wait_for(lock, std::chrono::nanoseconds(std::max<std::int64_t>(due - NowNanos(), 0)), news);
      }
      view = std::exchange(view_, std::nullopt);
      if (stopping_ && !leaving) leaving = true;
    }
    std::deque<LinkCore::Event> events;
    if (view) {
      if (!core) {
        LinkCore::Config config;
        config.pool = {view->pool_id, view->incarnation, view->machine, view->address, version_, view->pid};
        config.seed = std::random_device{}();
        core = std::make_unique<LinkCore>(config);
      }
      events.push_back(LinkCore::LoadChanged{LoadOf(*view)});
    }
    if (!core) {
      if (leaving) return;  // stopped before the pool was ready
      continue;
    }
    if (leaving) events.push_back(LinkCore::Leave{});
    events.push_back(LinkCore::Tick{});
    while (!events.empty()) {
      const auto actions = core->OnEvent(events.front(), NowNanos());
      events.pop_front();
      for (LinkCore::Event& answer : Carry(actions)) events.push_back(std::move(answer));
    }
  }
}

// Makes the calls that the actions ask for, one after the other, and returns what came of them.
std::vector<LinkCore::Event> SchedulerLink::Carry(const std::vector<LinkCore::Action>& actions) {
  std::vector<LinkCore::Event> events;
  for (const LinkCore::Action& action : actions) {
    if (const auto* say = std::get_if<LinkCore::Say>(&action)) {
      log_(say->text);
    } else if (const auto* ended = std::get_if<LinkCore::Ended>(&action)) {
      log_("no longer in the cluster: " + ended->why);
    } else if (const auto* join = std::get_if<scheduler::RegisterArrived>(&action)) {
      scheduler::RegisterResult result;
      const scheduler::CallStatus status = client_.Register(*join, kCallDeadline, &result);
      if (status.ok()) {
        events.push_back(LinkCore::RegisterAnswered{join->token, result.verdict, result.reason, result.cluster_id,
                                                    result.epoch,
                                                    LinkCore::Time{result.heartbeat_interval_ms} * 1'000'000});
      } else {
        events.push_back(LinkCore::CallFailed{join->token, status.message});
      }
    } else if (const auto* beat = std::get_if<scheduler::HeartbeatArrived>(&action)) {
      scheduler::HeartbeatResult result;
      const scheduler::CallStatus status = client_.Heartbeat(*beat, kCallDeadline, &result);
      if (status.ok()) {
        events.push_back(LinkCore::HeartbeatAnswered{beat->token, result.verdict, result.reason, result.epoch});
      } else {
        events.push_back(LinkCore::CallFailed{beat->token, status.message});
      }
    } else if (const auto* leave = std::get_if<LinkCore::SendLeave>(&action)) {
      client_.Leave(leave->pool_id, leave->incarnation, leave->epoch, kGoodbyeDeadline);
      events.push_back(LinkCore::LeaveAnswered{leave->call});
    }
  }
  return events;
}

}  // namespace sheaf::worker
