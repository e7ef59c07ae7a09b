// Deaths, delayed answers and loans at random: in the end every dead client is forgotten, and nothing stays lent to one.
//
// A model of what the runtime does with them (runtime/peer_death.cc) around the real core: a driver that hands out tasks, keeps a loan
// for each one that a dead worker had begun, and acknowledges a death once it has no result that lies there.
#include <algorithm>
#include <deque>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "base/random.h"
#include "tests/worker/pool_core_fixture.h"

namespace sheaf::testing {
namespace {

constexpr int kWorkers = 4;

class Job {
 public:
  explicit Job(std::uint64_t seed) : random_(seed) {
    PoolCore::Actions actions;
    core_.AddDriver(kBuild, &driver_, &actions);
    core_.Attached(driver_, &actions);
    for (int i = 0; i < kWorkers; ++i) Start();
  }

  void Step() {
    switch (random_.Below(8)) {
      case 0:
        if (alive_.size() > 1) Kill(Anyone());
        break;
      case 1:
        if (alive_.size() < kWorkers) Start();
        break;
      case 2:
        tasks_.emplace_back();
        break;
      case 3:
        for (Task& task : tasks_)
          if (task.maker != 0 && random_.OneIn(2)) Drop(task);
        break;
      case 4:
        WorkerHears();
        break;
      case 5:
        for (Task& task : tasks_)
          if (task.runs_at != 0 && alive_.contains(task.runs_at) && random_.OneIn(2)) Finish(task);
        break;
      default:
        DriverHears();
    }
    Dispatch();
    Acknowledge();
  }

  // No more kills and no more tasks; everybody hears everything, and the user lets go of all results.
  void Settle() {
    for (bool moved = true; moved;) {
      moved = DriverHears();
      moved |= WorkerHears();
      Dispatch();
      for (Task& task : tasks_) {
        moved |= task.maker == 0;
        if (task.runs_at != 0 && alive_.contains(task.runs_at)) Finish(task);
        if (task.maker != 0 && task.named) Drop(task), moved = true;
      }
      Acknowledge();
    }
  }

  std::size_t dead() const {
    return static_cast<std::size_t>(std::count_if(core_.clients().begin(), core_.clients().end(), [](const auto& at) {
      return at.second.state == wire::ClientState::kDead;
    }));
  }
  std::size_t kept() const {
    return static_cast<std::size_t>(
        std::count_if(tasks_.begin(), tasks_.end(), [](const Task& t) { return t.kept(); }));
  }

 private:
  struct Task {
    ClientId runs_at = 0, maker = 0;  // maker: where its result lies
    bool named = true;                // by the user
    int loans = 0;
    bool kept() const { return named || loans > 0; }
  };
  enum class News { kGone, kAlone, kForgotten };

  void Start() {
    PoolCore::Actions actions;
    ClientId worker = 0;
    if (core_.AddWorker(driver_, kBuild, &worker, &actions)) {
      core_.Attached(worker, &actions);
      alive_.insert(worker);
    }
    Deliver(actions);
  }

  void Kill(ClientId worker) {
    alive_.erase(worker);
    to_worker_.erase(worker);
    PoolCore::Actions actions;
    core_.Died(worker, 9, &actions);
    Deliver(actions);
  }

  void Deliver(const PoolCore::Actions& actions) {
    for (const pool::Action& action : actions) {
      if (const auto* gone = std::get_if<pool::SendGone>(&action)) {
        if (gone->to == driver_) {
          to_driver_.emplace_back(News::kGone, gone->peer);
        } else {
          to_worker_[gone->to].push_back(gone->peer);
        }
      } else if (const auto* alone = std::get_if<pool::SendAlone>(&action)) {
        if (alone->to == driver_) to_driver_.emplace_back(News::kAlone, alone->dead);
      } else if (const auto* forgotten = std::get_if<pool::SendForgotten>(&action)) {
        if (forgotten->to == driver_) to_driver_.emplace_back(News::kForgotten, forgotten->peer);
      }
    }
  }

  bool DriverHears() {
    if (to_driver_.empty()) return false;
    const auto [news, worker] = to_driver_.front();
    to_driver_.pop_front();
    if (news == News::kGone) {
      gone_.insert(worker);
      for (std::size_t i = 0; i < tasks_.size(); ++i) {
        if (tasks_[i].runs_at != worker) continue;
        tasks_[i].runs_at = 0;
        ++tasks_[i].loans;
        lent_[worker].push_back(i);
      }
      return true;
    }
    for (const std::size_t i : lent_[worker]) --tasks_[i].loans;
    lent_.erase(worker);
    if (news == News::kForgotten) gone_.erase(worker), acknowledged_.erase(worker);
    return true;
  }

  bool WorkerHears() {
    std::vector<ClientId> some;
    for (const auto& [worker, deaths] : to_worker_)
      if (!deaths.empty()) some.push_back(worker);
    if (some.empty()) return false;
    const ClientId worker = some[random_.Below(some.size())];
    const ClientId dead = to_worker_[worker].front();
    to_worker_[worker].pop_front();
    PoolCore::Actions actions;
    EXPECT_TRUE(core_.Acknowledge(worker, dead, &actions));
    Deliver(actions);
    return true;
  }

  // Whom the driver takes for alive may be dead: then its death brings the task back.
  void Dispatch() {
    for (Task& task : tasks_)
      if (task.maker == 0 && task.runs_at == 0 && random_.OneIn(2)) {
        const ClientId worker = Anyone();
        if (!gone_.contains(worker)) task.runs_at = worker;
      }
  }
  static void Finish(Task& task) { task.maker = std::exchange(task.runs_at, 0); }
  static void Drop(Task& task) { task.named = false; }

  void Acknowledge() {
    for (const ClientId dead : std::set<ClientId>(gone_)) {
      const bool used =
          std::any_of(tasks_.begin(), tasks_.end(), [&](const Task& t) { return t.kept() && t.maker == dead; });
      if (used || !acknowledged_.insert(dead).second) continue;
      PoolCore::Actions actions;
      EXPECT_TRUE(core_.Acknowledge(driver_, dead, &actions));
      Deliver(actions);
    }
  }

  ClientId Anyone() {
    auto at = alive_.begin();
    std::advance(at, random_.Below(alive_.size()));
    return *at;
  }

  PoolCore core_{PoolCore::Config{kWorkers, std::uint64_t{1} << 40, 1 << 18}};
  Random random_;
  ClientId driver_ = 0;
  std::set<ClientId> alive_, gone_, acknowledged_;  // of those gone the driver has heard
  std::deque<std::pair<News, ClientId>> to_driver_;
  std::map<ClientId, std::deque<ClientId>> to_worker_;
  std::map<ClientId, std::vector<std::size_t>> lent_;
  std::vector<Task> tasks_;
};

TEST(PoolLoans, EveryDeadClientIsForgottenAndNothingStaysLent) {
  for (std::uint64_t seed = 1; seed <= 500; ++seed) {
    Job job(seed);
    for (int i = 0; i < 400; ++i) job.Step();
    job.Settle();
    ASSERT_EQ(job.dead(), 0u) << "seed " << seed;
    ASSERT_EQ(job.kept(), 0u) << "seed " << seed;
  }
}

}  // namespace
}  // namespace sheaf::testing
