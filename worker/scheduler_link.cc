#include "worker/scheduler_link.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <random>
#include <utility>

#include "base/clock.h"
#include "base/unix_time.h"
#include "scheduler/ticket.h"

namespace sheaf::worker {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kCallDeadline{2000};
constexpr milliseconds kGoodbyeDeadline{500};
constexpr std::size_t kUsedMax = 65'536;
constexpr std::int64_t kHalfADay = 43'200;
constexpr std::int64_t kRenewAgainNanos = 1'000'000'000;

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

SchedulerLink::SchedulerLink(scheduler::ListenAddress address, std::string version, Log log, std::string pki)
    : version_(std::move(version)),
      log_(std::move(log)),
      address_(std::move(address)),
      pki_(std::move(pki)),
      news_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!pki_.empty()) {
    credentials_ = scheduler::ReadCredentials(pki_);
    renew_below_ = std::min<std::int64_t>(scheduler::SecondsLeft(credentials_.certificate) / 2, kHalfADay);
  }
  client_ = std::make_unique<scheduler::SchedulerClient>(address_, pki_.empty() ? nullptr : &credentials_);
  thread_ = std::thread([this] { Run(); });
}

// At half of the certificate's life; whoever starts from now on uses the next one.
void SchedulerLink::RenewIfDue() {
  const std::int64_t now = NowNanos();
  if (pki_.empty() || now < renew_again_ || scheduler::SecondsLeft(credentials_.certificate) > renew_below_) return;
  renew_again_ = now + kRenewAgainNanos;
  scheduler::Credentials next = credentials_;
  const scheduler::CallStatus status = client_->Renew(kCallDeadline, &next);
  std::string why = status.message;
  if (status.ok()) why = scheduler::WriteCredentials(pki_, next);
  if (!why.empty()) return log_("this pool's certificate could not be renewed: " + why);
  credentials_ = next;
  auto client = std::make_unique<scheduler::SchedulerClient>(address_, &credentials_);
  {
    std::lock_guard lock(mutex_);
    client_.swap(client);
    if (stopping_) client_->Cancel();
  }
  log_("this pool's certificate was renewed");
}

SchedulerLink::~SchedulerLink() { Stop(); }

void SchedulerLink::Publish(const PoolView& view) {
  {
    std::lock_guard lock(mutex_);
    view_ = view;
  }
  changed_.notify_one();
}

void SchedulerLink::Tell(News news) {
  {
    std::lock_guard lock(mutex_);
    // A fence must not be lost under what comes after it.
    if (news_ && news_->fenced) return;
    news_ = std::move(news);
  }
  const std::uint64_t one = 1;
  (void)!write(news_fd_.get(), &one, sizeof one);
}

std::optional<Neighbours::News> SchedulerLink::Take() {
  std::uint64_t count = 0;
  (void)!read(news_fd_.get(), &count, sizeof count);
  std::lock_guard lock(mutex_);
  return std::exchange(news_, std::nullopt);
}

// Numbers grow: of those that are forgotten here none may come any more.
void SchedulerLink::Remember(std::uint64_t grant) {
  if (used_.size() >= kUsedMax && grant > *used_.begin()) used_.erase(used_.begin());
  used_.insert(grant);
}

std::string SchedulerLink::Admit(const std::string& text, const HasRoom& has_room, Admitted* admitted) {
  std::lock_guard lock(mutex_);
  if (lender_key_.empty() || fenced_) return "this pool is not in a cluster at the moment";
  std::string why;
  const auto ticket = scheduler::OpenTicket(lender_key_, text, &why);
  if (!ticket) return why;
  if (ticket->cluster != cluster_id_) return "its ticket is of another cluster";
  if (ticket->lender != pool_id_ || ticket->lender_incarnation != incarnation_)
    return "its ticket is for another pool, or an earlier life of this one";
  if (ticket->epoch != epoch_) return "its ticket is of another epoch of the scheduler: ask for a new one";
  if (ticket->expires < UnixSeconds()) return "its ticket has expired";
  if (used_.size() >= kUsedMax && ticket->grant < *used_.begin()) return "its ticket is too old";
  if (used_.contains(ticket->grant)) return "its ticket was used before";
  admitted->grant.id = ticket->grant;
  admitted->grant.slots = ticket->slots;
  admitted->grant.cpus_milli = ticket->cpus_milli;
  admitted->borrower = ticket->borrower;
  // Nobody has looked since a credit was given: what is lent to others by now, or used here, comes first.
  if (ticket->credit && !has_room(admitted->grant)) return "its slots are in use by now";
  Remember(ticket->grant);
  return {};
}

std::string SchedulerLink::Trouble() const {
  std::lock_guard lock(mutex_);
  return trouble_;
}

void SchedulerLink::Stop() {
  if (!thread_.joinable()) return;
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    client_->Cancel();
  }
  changed_.notify_one();
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
        config.offer = view->offer;
        {
          std::lock_guard lock(mutex_);
          pool_id_ = view->pool_id;
          incarnation_ = view->incarnation;
        }
        config.pool = {view->pool_id, view->incarnation, view->machine, view->address, version_, view->pid};
        config.seed = std::random_device{}();
        core = std::make_unique<LinkCore>(config);
      }
      events.push_back(LinkCore::LoadChanged{LoadOf(*view), view->report});
    }
    if (!core) {
      if (leaving) return;  // stopped before the pool was ready
      continue;
    }
    if (core->member() && !leaving) RenewIfDue();
    if (leaving) events.push_back(LinkCore::Leave{});
    events.push_back(LinkCore::Tick{});
    while (!events.empty()) {
      const auto actions = core->OnEvent(events.front(), NowNanos());
      events.pop_front();
      {
        std::lock_guard lock(mutex_);
        fenced_ = core->fenced();
        trouble_ = core->trouble();
      }
      for (LinkCore::Event& answer : Carry(actions)) events.push_back(std::move(answer));
    }
  }
}

// `asked`: when the question was sent. What an answer allows ends as early as a fence that begins there would: the scheduler
// cannot have given this pool up before.
Neighbours::News SchedulerLink::NewsIn(const scheduler::HeartbeatArrived& beat, scheduler::HeartbeatResult& result,
                                       std::int64_t asked) const {
  News news;
  for (auto& [grant, ticket] : result.grants) news.grants.push_back({grant, std::move(ticket)});
  for (auto& [parked, next] : result.credits)
    news.credits.push_back({parked, {std::move(next.grant), std::move(next.ticket)}});
  news.credits_until = asked + fence_after_;
  for (const scheduler::GrantInfo& grant : beat.report.held) news.reported.push_back(grant.id);
  for (const scheduler::LeaseWant& want : beat.report.wants)
    if (std::find(result.infeasible.begin(), result.infeasible.end(), want.job) != result.infeasible.end())
      news.infeasible.push_back(want);
  news.voided = std::move(result.voided);
  news.epoch = result.epoch;
  news.drain = result.drain;
  return news;
}

// Makes the calls that the actions ask for, one after the other, and returns what came of them.
std::vector<LinkCore::Event> SchedulerLink::Carry(const std::vector<LinkCore::Action>& actions) {
  std::vector<LinkCore::Event> events;
  for (const LinkCore::Action& action : actions) {
    if (const auto* say = std::get_if<LinkCore::Say>(&action)) {
      log_(say->text);
    } else if (const auto* ended = std::get_if<LinkCore::Ended>(&action)) {
      log_("no longer in the cluster: " + ended->why);
      News over;
      over.fenced = true;
      Tell(over);
    } else if (std::holds_alternative<LinkCore::Fence>(action)) {
      log_("no word from the scheduler for too long: what runs here for other pools is ended");
      News fenced;
      fenced.fenced = true;
      Tell(fenced);
    } else if (const auto* join = std::get_if<scheduler::RegisterArrived>(&action)) {
      scheduler::RegisterResult result;
      const scheduler::CallStatus status = client_->Register(*join, kCallDeadline, &result);
      if (status.ok()) {
        events.push_back(LinkCore::RegisterAnswered{join->token, result.verdict, result.reason, result.cluster_id,
                                                    result.epoch,
                                                    LinkCore::Time{result.heartbeat_interval_ms} * 1'000'000,
                                                    LinkCore::Time{result.lost_after_ms} * 1'000'000});
        if (result.verdict == scheduler::Verdict::kOk) {
          std::lock_guard lock(mutex_);
          fence_after_ = LinkCore::FenceAfter(LinkCore::Time{result.lost_after_ms} * 1'000'000);
          cluster_id_ = result.cluster_id;
          epoch_ = result.epoch;
          lender_key_ = result.lender_key;
        }
      } else {
        events.push_back(LinkCore::CallFailed{join->token, status.message,
                                              status.kind == scheduler::CallStatus::Kind::kUnreachable});
      }
    } else if (const auto* beat = std::get_if<scheduler::HeartbeatArrived>(&action)) {
      scheduler::HeartbeatResult result;
      const std::int64_t asked = NowNanos();
      const scheduler::CallStatus status = client_->Heartbeat(*beat, kCallDeadline, &result);
      if (status.ok()) {
        std::vector<scheduler::GrantInfo> grants;
        for (const auto& granted : result.grants) grants.push_back(granted.grant);
        events.push_back(
            LinkCore::HeartbeatAnswered{beat->token, result.verdict, result.reason, result.epoch, std::move(grants)});
        if (result.verdict == scheduler::Verdict::kOk && result.epoch == beat->epoch) {
          {
            // Those that were not shown yet never will be.
            std::lock_guard lock(mutex_);
            for (const std::uint64_t grant : result.voided)
              if (!used_.contains(grant)) Remember(grant);
          }
          Tell(NewsIn(*beat, result, asked));
        }
      } else {
        events.push_back(LinkCore::CallFailed{beat->token, status.message,
                                              status.kind == scheduler::CallStatus::Kind::kUnreachable});
      }
    } else if (const auto* leave = std::get_if<LinkCore::SendLeave>(&action)) {
      client_->Leave(leave->pool_id, leave->incarnation, leave->epoch, kGoodbyeDeadline);
      events.push_back(LinkCore::LeaveAnswered{leave->call});
    }
  }
  return events;
}

}  // namespace sheaf::worker
