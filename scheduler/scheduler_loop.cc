#include "scheduler/scheduler_loop.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/clock.h"
#include "base/unix_time.h"

namespace sheaf::scheduler {
namespace {

constexpr Time kLongestSleep = 1'000'000'000;

Time TimeOfDay() { return UnixSeconds() * 1'000'000'000; }

// Between the core's clock and the time of day, which a later life of the scheduler understands, too.
std::vector<GrantRecord> Shifted(std::vector<GrantRecord> grants, Time by) {
  for (GrantRecord& grant : grants) grant.since += by;
  return grants;
}

template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};

}  // namespace

SchedulerLoop::SchedulerLoop(SchedulerCore::Config config, const std::vector<PoolIdentity>& known,
                             std::unique_ptr<StateStore> store, ClusterView about, Log log,
                             std::vector<GrantRecord> granted)
    : config_(config),
      started_(NowNanos()),
      about_(std::move(about)),
      log_(std::move(log)),
      core_(std::move(config), known, started_, Shifted(std::move(granted), NowNanos() - TimeOfDay())),
      store_(std::move(store)),
      writer_([this] { WriteLoop(); }) {}

SchedulerLoop::~SchedulerLoop() {
  {
    std::lock_guard lock(write_mutex_);
    writer_stopping_ = true;
  }
  write_arrived_.notify_one();
  writer_.join();
}

bool SchedulerLoop::Enqueue(Item item) {
  {
    std::lock_guard lock(mutex_);
    // The writer's reports always find room: there are never more of them than open writes.
    const bool report = std::holds_alternative<StoreDone>(item);
    if (stopping_ || (!report && inbox_.size() >= kInboxMax)) return false;
    inbox_.push_back(std::move(item));
  }
  arrived_.notify_one();
  return true;
}

void SchedulerLoop::Ask(Event event, OnAnswer answer) {
  OnAnswer refused = answer;
  if (!Enqueue(Question{std::move(event), std::move(answer)})) {
    refused({Verdict::kUnavailable, "the scheduler is stopping or has no room in its inbox", {}, {}, {}, false});
  }
}

void SchedulerLoop::AskView(OnView answer, bool placement) {
  OnView refused = answer;
  if (!Enqueue(Look{std::move(answer), placement})) refused(nullptr);
}

void SchedulerLoop::Stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  arrived_.notify_one();
}

void SchedulerLoop::Run() {
  std::deque<Item> batch;
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      const Time now = NowNanos();
      const Time sleep = std::clamp<Time>(core_.NextDeadline() - now, 0, kLongestSleep);
      arrived_.wait_for(lock, std::chrono::nanoseconds(sleep), [this] { return stopping_ || !inbox_.empty(); });
      batch.swap(inbox_);
      if (stopping_) break;
    }
    const Time now = NowNanos();
    for (Item& item : batch) Handle(std::move(item), now);
    batch.clear();
    if (now >= core_.NextDeadline()) Perform(core_.OnEvent(Tick{}, now));
  }
  const Answer farewell{Verdict::kUnavailable, "the scheduler is stopping", {}, {}, {}, false};
  for (Item& item : batch) {
    if (auto* question = std::get_if<Question>(&item)) question->answer(farewell);
    if (auto* look = std::get_if<Look>(&item)) look->answer(nullptr);
  }
  for (auto& [token, answer] : std::exchange(waiting_, {})) answer(farewell);
}

void SchedulerLoop::Handle(Item item, Time now) {
  std::visit(Overloaded{
                 [&](Question& question) {
                   const std::uint64_t token = next_token_++;
                   std::visit(Overloaded{[&](RegisterArrived& e) { e.token = token; },
                                         [&](HeartbeatArrived& e) { e.token = token; },
                                         [&](LeaveArrived& e) { e.token = token; },
                                         [&](DrainAsked& e) { e.token = token; }, [](auto&) {}},
                              question.event);
                   waiting_.emplace(token, std::move(question.answer));
                   Perform(core_.OnEvent(question.event, now));
                 },
                 [&](Look& look) {
                   const ClusterView view = View(now, look.placement);
                   look.answer(&view);
                 },
                 [&](StoreDone& done) {
                   if (!done.ok && done.error != core_.trouble()) log_("state not stored: " + done.error);
                   Perform(core_.OnEvent(done, now));
                 },
             },
             item);
}

void SchedulerLoop::Perform(const std::vector<Action>& actions) {
  for (const Action& action : actions) {
    std::visit(Overloaded{
                   [&](const ReplyRegister& a) { AnswerToken(a.token, {a.verdict, a.reason, {}, {}, {}, false}); },
                   [&](const ReplyHeartbeat& a) {
                     AnswerToken(a.token, {a.verdict, a.reason, a.grants, a.infeasible, a.voided, a.drain, a.credits});
                   },
                   [&](const ReplyDrain& a) { AnswerToken(a.token, {a.verdict, {}, {}, {}, {}, false}); },
                   [&](const ReplyLeave& a) { AnswerToken(a.token, {a.verdict, {}, {}, {}, {}, false}); },
                   [&](const PoolJoined& a) {
                     log_("pool " + a.pool.pool_id + " joined (" + a.pool.machine + ", " + a.pool.address + ")");
                   },
                   [&](const PoolGone& a) { log_("pool " + a.pool.pool_id + " is gone: " + a.why); },
                   [&](StoreGrants a) {
                     a.put = Shifted(std::move(a.put), TimeOfDay() - NowNanos());
                     Store(std::move(a));
                   },
                   [&](const auto& write) { Store(write); },
               },
               action);
  }
}

void SchedulerLoop::Store(Write write) {
  {
    std::lock_guard lock(write_mutex_);
    writes_.push_back(std::move(write));
  }
  write_arrived_.notify_one();
}

void SchedulerLoop::AnswerToken(std::uint64_t token, Answer reply) {
  const auto found = waiting_.find(token);
  if (found == waiting_.end()) return;
  const OnAnswer answer = std::move(found->second);
  waiting_.erase(found);
  answer(reply);
}

ClusterView SchedulerLoop::View(Time now, bool placement) const {
  ClusterView view = core_.Show(now, placement);
  view.pid = about_.pid;
  view.address = about_.address;
  view.version = about_.version;
  view.uptime_ms = static_cast<std::uint64_t>((now - started_) / 1'000'000);
  return view;
}

void SchedulerLoop::WriteLoop() {
  std::unique_lock lock(write_mutex_);
  for (;;) {
    write_arrived_.wait(lock, [this] { return writer_stopping_ || !writes_.empty(); });
    if (writes_.empty()) return;  // stopping, and everything is written
    const Write write = std::move(writes_.front());
    writes_.pop_front();
    lock.unlock();
    StoreDone done;
    StateStatus status;
    if (const auto* put = std::get_if<StorePool>(&write)) {
      done.write = put->write;
      status = store_->PutPool(put->pool);
    } else if (const auto* erase = std::get_if<ErasePool>(&write)) {
      done.write = erase->write;
      status = store_->ErasePool(erase->pool_id);
    } else {
      const auto& grants = std::get<StoreGrants>(write);
      done.write = grants.write;
      status = store_->ChangeGrants(grants.put, grants.erase);
    }
    done.ok = status.ok();
    done.error = status.message;
    Enqueue(std::move(done));
    lock.lock();
  }
}

}  // namespace sheaf::scheduler
