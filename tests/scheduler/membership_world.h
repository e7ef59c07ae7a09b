// A cluster's membership in a simulated world: the real SchedulerCore and one real LinkCore per pool, one thread, with
// seeded delays, losses and repeats of messages, restarts of pools and of the scheduler, a scheduler that was replaced
// and goes on running, and a disk that is slow or full. Safety is checked at every step, liveness after the faults end.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "scheduler/scheduler_core.h"
#include "worker/link_core.h"

namespace sheaf::membership {

using scheduler::PoolIdentity;
using scheduler::Standing;
using scheduler::Time;
using scheduler::Verdict;
using worker::LinkCore;

constexpr Time kMs = 1'000'000;
constexpr Time kSecond = 1000 * kMs;
constexpr Time kFaultsEnd = 40 * kSecond;
constexpr Time kEnd = 90 * kSecond;
constexpr int kPools = 4;

enum class Planted {
  kNothing,
  kAcknowledgesBeforeStoring,  // the scheduler's disk loses writes that it confirmed
  kForgetsTheEpoch,            // pools register without saying which epoch they have seen
};

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15 + 1) {}
  std::uint64_t Next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_ * 0x2545f4914f6cdd1d >> 11;
  }
  std::uint64_t Below(std::uint64_t n) { return Next() % n; }
  bool Chance(unsigned percent) { return Below(100) < percent; }

 private:
  std::uint64_t state_;
};

struct Outcome {
  std::uint64_t digest = 0xcbf29ce484222325;
  std::vector<std::string> faults;
  int registrations = 0, restarts = 0, leftovers = 0;
};

class World {
 public:
  World(std::uint64_t seed, Planted planted) : random_(seed), planted_(planted) {
    StartScheduler();
    for (int i = 0; i < kPools; ++i) {
      pools_.push_back({});
      StartPool(i);
    }
  }

  Outcome Run() {
    At(random_.Below(3000) * kMs, [this] { Disturb(); });
    while (!queue_.empty() && queue_.begin()->first.first <= kEnd) {
      now_ = queue_.begin()->first.first;
      const auto step = std::move(queue_.begin()->second);
      queue_.erase(queue_.begin());
      step();
      CheckSafety();
      if (!out_.faults.empty()) return out_;
    }
    CheckLiveness();
    return out_;
  }

 private:
  struct Scheduler {
    std::uint64_t life = 0;
    std::unique_ptr<scheduler::SchedulerCore> core;
    std::map<std::uint64_t, std::pair<int, std::uint64_t>> asked;  // token -> pool, its life
    std::map<std::uint64_t, std::uint64_t> call_of;                // token -> the pool's call
    std::map<std::uint64_t, std::pair<std::string, std::uint64_t>> epoch_seen;
  };
  struct Pool {
    std::uint64_t life = 0;
    std::unique_ptr<LinkCore> core;
    std::map<std::uint64_t, Time> open;  // calls without an answer
    std::uint64_t epoch_high = 0;
    bool ended = false, left = false;
  };

  void At(Time when, std::function<void()> step) {
    queue_.emplace(std::make_pair(std::max(when, now_), order_++), std::move(step));
  }
  void Fault(const std::string& text) { out_.faults.push_back(std::to_string(now_ / kMs) + " ms: " + text); }
  void Digest(const std::string& text) {
    for (const char c : text + "\n") {
      out_.digest = (out_.digest ^ static_cast<unsigned char>(c)) * 0x100000001b3;
    }
  }
  bool Faulty() const { return now_ < kFaultsEnd; }

  // ---- the world's accidents

  void Disturb() {
    if (!Faulty()) return;
    switch (random_.Below(6)) {
      case 0: {
        ++out_.restarts;
        StartScheduler();
        break;
      }
      case 1: {  // replaced, but it does not know: it goes on answering whom it reaches
        ++out_.leftovers;
        leftover_ = std::move(scheduler_);
        StartScheduler();
        break;
      }
      case 2:
        disk_full_until_ = now_ + random_.Below(4000) * kMs;
        break;
      case 3:
        cut_until_ = now_ + random_.Below(8000) * kMs;
        break;
      case 4:
        StartPool(static_cast<int>(random_.Below(kPools)));
        break;
      case 5: {
        const int i = static_cast<int>(random_.Below(kPools));
        if (!pools_[i].ended) {
          pools_[i].left = true;
          Feed(i, LinkCore::Leave{});
          const std::uint64_t life = pools_[i].life;
          At(now_ + 2 * kSecond, [this, i, life] {
            if (pools_[i].life == life) StartPool(i);
          });
        }
        break;
      }
    }
    At(now_ + (200 + random_.Below(4000)) * kMs, [this] { Disturb(); });
  }

  void StartScheduler() {
    scheduler::SchedulerCore::Config config;
    config.cluster_id = "c";
    config.epoch = ++epoch_;
    config.limits.remembered_for = 20 * kSecond;
    scheduler_ = std::make_unique<Scheduler>();
    scheduler_->life = ++lives_;
    std::vector<PoolIdentity> known;
    for (const auto& [id, pool] : disk_) known.push_back(pool);
    scheduler_->core = std::make_unique<scheduler::SchedulerCore>(config, known, now_);
    Wake(scheduler_.get());
  }

  void StartPool(int i) {
    Pool& pool = pools_[i];
    const std::uint64_t life = ++lives_;
    pool = {};
    pool.life = life;
    LinkCore::Config config;
    config.pool.pool_id = "p" + std::to_string(i);
    config.pool.incarnation = life;
    config.seed = random_.Next();
    pool.core = std::make_unique<LinkCore>(config);
    scheduler::PoolLoad load;
    load.slots = 2;
    Feed(i, LinkCore::LoadChanged{load, {}});
  }

  // ---- the scheduler's shell

  Scheduler* Living(std::uint64_t life) {
    if (scheduler_ && scheduler_->life == life) return scheduler_.get();
    if (leftover_ && leftover_->life == life) return leftover_.get();
    return nullptr;
  }

  void Wake(Scheduler* who) {
    const Time due = who->core->NextDeadline();
    if (due == scheduler::kNever) return;
    const std::uint64_t life = who->life;
    At(due, [this, life] {
      Scheduler* still = Living(life);
      if (still != nullptr && still->core->NextDeadline() <= now_) {
        Perform(still, still->core->OnEvent(scheduler::Tick{}, now_));
      }
    });
  }

  void Perform(Scheduler* who, const std::vector<scheduler::Action>& actions) {
    const std::uint64_t life = who->life;
    for (const scheduler::Action& action : actions) {
      Digest(std::to_string(who->core->config().epoch) + " " + scheduler::Describe(action));
      if (const auto* put = std::get_if<scheduler::StorePool>(&action)) {
        const bool lost = planted_ == Planted::kAcknowledgesBeforeStoring && random_.Chance(30);
        const bool full = now_ < disk_full_until_;
        // One writer, in order: a write is done after those before it.
        disk_busy_until_ = std::max(disk_busy_until_, now_) + random_.Below(200) * kMs;
        At(disk_busy_until_, [this, life, put = *put, full, lost] {
          Scheduler* still = Living(life);
          if (still == nullptr) return;
          // A leftover writes into a file that nobody reads any more.
          if (!full && !lost && still == scheduler_.get()) disk_[put.pool.pool_id] = put.pool;
          Perform(still, still->core->OnEvent(scheduler::StoreDone{put.write, !full, full ? "full" : ""}, now_));
        });
      } else if (const auto* erase = std::get_if<scheduler::ErasePool>(&action)) {
        disk_busy_until_ = std::max(disk_busy_until_, now_);
        At(disk_busy_until_, [this, life, erase = *erase] {
          Scheduler* still = Living(life);
          if (still == nullptr) return;
          if (still == scheduler_.get()) disk_.erase(erase.pool_id);
          Perform(still, still->core->OnEvent(scheduler::StoreDone{erase.write, true, ""}, now_));
        });
      } else if (const auto* a = std::get_if<scheduler::ReplyRegister>(&action)) {
        CheckRegistered(who, *a);
        Reply(who, a->token, [&](std::uint64_t call) {
          return LinkCore::Event(
              LinkCore::RegisterAnswered{call, a->verdict, a->reason, "c", who->core->config().epoch, kSecond});
        });
      } else if (const auto* a2 = std::get_if<scheduler::ReplyHeartbeat>(&action)) {
        Reply(who, a2->token, [&](std::uint64_t call) {
          return LinkCore::Event(
              LinkCore::HeartbeatAnswered{call, a2->verdict, a2->reason, who->core->config().epoch, a2->grants});
        });
      } else if (const auto* a3 = std::get_if<scheduler::ReplyLeave>(&action)) {
        Reply(who, a3->token, [&](std::uint64_t call) { return LinkCore::Event(LinkCore::LeaveAnswered{call}); });
      }
    }
    Wake(who);
  }

  template <class MakeEvent>
  void Reply(Scheduler* who, std::uint64_t token, const MakeEvent& make) {
    const auto asked = who->asked.find(token);
    if (asked == who->asked.end()) return Fault("token answered twice or never asked");
    const auto [i, life] = asked->second;
    const LinkCore::Event event = make(who->call_of[token]);
    who->asked.erase(asked);
    Send([this, i = i, life = life, event] {
      if (pools_[i].life == life) Feed(i, event);
    });
  }

  // ---- the network: each message may be lost, late or doubled

  void Send(std::function<void()> deliver) {
    const bool faulty = Faulty();
    if (faulty && (now_ < cut_until_ || random_.Chance(10))) return;
    const int copies = faulty && random_.Chance(10) ? 2 : 1;
    for (int k = 0; k < copies; ++k) {
      At(now_ + (1 + random_.Below(faulty && random_.Chance(10) ? 3000 : 20)) * kMs, deliver);
    }
  }

  template <class Request>
  void Ask(int i, std::uint64_t call, Request request, std::uint64_t epoch_seen = 0) {
    pools_[i].open[call] = now_;
    const std::uint64_t life = pools_[i].life;
    Send([this, i, life, call, request, seen = epoch_seen] {
      Scheduler* who = leftover_ && Faulty() && random_.Chance(30) ? leftover_.get() : scheduler_.get();
      Request copy = request;
      copy.token = ++tokens_;
      who->asked[copy.token] = {i, life};
      who->call_of[copy.token] = call;
      if constexpr (!std::is_same_v<Request, scheduler::RegisterArrived>) {
        static_cast<void>(seen);
      } else {
        ++out_.registrations;
        who->epoch_seen[copy.token] = {copy.pool.pool_id, seen};
      }
      Perform(who, who->core->OnEvent(copy, now_));
    });
    At(now_ + 2 * kSecond, [this, i, life, call] {
      if (pools_[i].life != life || pools_[i].open.erase(call) == 0) return;
      if (pools_[i].left) {
        Feed(i, LinkCore::LeaveAnswered{call});
      } else {
        Feed(i, LinkCore::CallFailed{call, "no answer"});
      }
    });
  }

  // ---- a pool's shell

  void Feed(int i, const LinkCore::Event& event) {
    Pool& pool = pools_[i];
    std::visit(
        [&](const auto& e) {
          if constexpr (requires { e.call; }) pool.open.erase(e.call);
        },
        event);
    const std::vector<LinkCore::Action> actions = pool.core->OnEvent(event, now_);
    if (pool.core->epoch() < pool.epoch_high) Fault("a pool went back to an older epoch");
    pool.epoch_high = std::max(pool.epoch_high, pool.core->epoch());
    for (const LinkCore::Action& action : actions) {
      if (const auto* join = std::get_if<scheduler::RegisterArrived>(&action)) {
        scheduler::RegisterArrived request = *join;
        if (planted_ == Planted::kForgetsTheEpoch) request.epoch_seen = 0;
        Ask(i, join->token, request, join->epoch_seen);
      } else if (const auto* beat = std::get_if<scheduler::HeartbeatArrived>(&action)) {
        Ask(i, beat->token, *beat);
      } else if (const auto* leave = std::get_if<LinkCore::SendLeave>(&action)) {
        Ask(i, leave->call, scheduler::LeaveArrived{0, leave->pool_id, leave->incarnation});
      } else if (std::holds_alternative<LinkCore::Ended>(action)) {
        pool.ended = true;
        if (!pool.left) Fault("a pool that did not want to leave was thrown out");
      }
    }
    if (pool.open.size() > 1) Fault("a pool has two calls open");
    const Time due = pool.core->NextDeadline();
    if (due == scheduler::kNever) return;
    const std::uint64_t life = pool.life;
    At(due, [this, i, life] {
      Pool& still = pools_[i];
      if (still.life == life && still.core->NextDeadline() <= now_) Feed(i, LinkCore::Tick{});
    });
  }

  // ---- what must hold

  void CheckRegistered(Scheduler* who, const scheduler::ReplyRegister& reply) {
    if (reply.verdict != Verdict::kOk) return;
    const auto [id, seen] = who->epoch_seen[reply.token];
    if (seen > who->core->config().epoch) Fault("a leftover took a pool that knows better");
    if (who != scheduler_.get()) return;
    const scheduler::Node* node = who->core->nodes().Find(id);
    const auto stored = disk_.find(id);
    if (node != nullptr && (stored == disk_.end() || stored->second.incarnation < node->identity.incarnation)) {
      Fault("acknowledged " + id + " before it was durable");
    }
  }

  void CheckSafety() {
    for (const auto& [id, node] : scheduler_->core->nodes().nodes()) {
      const Pool& pool = pools_[static_cast<std::size_t>(id[1] - '0')];
      if (node.identity.incarnation > pool.life) Fault("a pool from the future");
    }
    if (scheduler_->core->writes_open() > scheduler_->core->config().writes_max) {
      Fault("more writes open than allowed");
    }
  }

  void CheckLiveness() {
    for (int i = 0; i < kPools; ++i) {
      const scheduler::Node* node = scheduler_->core->nodes().Find("p" + std::to_string(i));
      const bool alive = node != nullptr && node->standing == Standing::kAlive;
      if (pools_[i].left) {
        if (alive && node->identity.incarnation == pools_[i].life) Fault("left, and still there");
      } else if (!alive || node->identity.incarnation != pools_[i].life || !pools_[i].core->member()) {
        Fault("p" + std::to_string(i) + " is not back 50 s after the last fault");
      }
    }
    if (scheduler_->asked.size() > scheduler_->core->writes_open()) Fault("a question unanswered");
  }

  Random random_;
  const Planted planted_;
  Outcome out_;
  Time now_ = 0;
  std::uint64_t order_ = 0, lives_ = 0, tokens_ = 0, epoch_ = 0;
  std::multimap<std::pair<Time, std::uint64_t>, std::function<void()>> queue_;
  std::unique_ptr<Scheduler> scheduler_, leftover_;
  std::vector<Pool> pools_;
  std::map<std::string, PoolIdentity> disk_;
  Time disk_full_until_ = 0, disk_busy_until_ = 0, cut_until_ = 0;
};

}  // namespace sheaf::membership
