// A whole cluster in one thread: the real scheduler core with its placement, a real link core per pool, and a model of what
// pools, relays and drivers do between them. Seeded time, network, disk and accidents.
//
// Checked after every step: each result is delivered once; a ticket admits once, to the life of the lender and the epoch
// that it names; a lender never runs more for others than it was told of; nobody lends to itself. Checked after the faults
// have ended: every task of a living driver is done, jobs that want share, and once nobody wants anything nothing is lent,
// held or running.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/random.h"
#include "scheduler/scheduler_core.h"
#include "tests/scheduler/cluster_model.h"
#include "worker/link_core.h"

namespace sheaf::cluster {

using scheduler::GrantInfo;
using scheduler::Time;
using worker::LinkCore;

constexpr Time kMs = 1'000'000, kSecond = 1000 * kMs;
constexpr Time kFaultsEnd = 20 * kSecond, kWorkEnd = 60 * kSecond, kEnd = 75 * kSecond;
constexpr std::uint64_t kStepsMax = 200'000;
constexpr int kPools = 8, kDrivers = 4;

class World {
 public:
  World(std::uint64_t seed, Bug bug) : random_(seed), bug_(bug) {
    StartScheduler();
    for (int i = 0; i < kPools; ++i) {
      pools_.push_back({});
      StartPool(i);
    }
    for (int d = 0; d < kDrivers; ++d) {
      drivers_.push_back({});
      StartDriver(d);
    }
  }

  Outcome Run() {
    At(random_.Below(2000) * kMs, [this] { Disturb(); });
    At(kSecond, [this] { Look(); });
    std::uint64_t steps = 0;
    while (!queue_.empty() && queue_.begin()->first.first <= kEnd) {
      now_ = queue_.begin()->first.first;
      const auto step = std::move(queue_.begin()->second);
      queue_.erase(queue_.begin());
      step();
      if (++steps > kStepsMax) Fault("it runs in circles");
      if (!out_.faults.empty()) return out_;
    }
    CheckEnd();
    out_.grants = scheduler_->core->placement().granted();
    return out_;
  }

 private:
  struct Scheduler {
    std::uint64_t life = 0;
    std::unique_ptr<scheduler::SchedulerCore> core;
    std::map<std::uint64_t, std::pair<int, std::uint64_t>> asked;
    std::map<std::uint64_t, std::uint64_t> call_of;
    std::map<std::string, std::uint64_t> own;  // what the pools' own jobs use, as heard last
    std::map<std::string, Time> gone;
    std::uint64_t newest = 0;  // grant
  };
  struct Relay {  // both halves and the stream between them; they end together, but not at the same time
    std::uint64_t number = 0;
    GrantInfo grant;
    int near = 0, far = 0, driver = 0;
    std::uint64_t near_life = 0, far_life = 0;
    bool near_alive = true, far_alive = false, admitted = false, leaving = false, revoked = false;
    std::set<int> away;  // tasks
  };
  struct Pool {
    std::uint64_t life = 0;
    std::uint32_t slots = 0;
    std::unique_ptr<LinkCore> core;
    std::map<std::uint64_t, Time> open;
    std::set<std::uint64_t> used;  // tickets
    std::uint64_t epoch = 0;       // of its membership
    bool stopped = false, left = false;
    std::uint32_t own = 0;
    std::set<std::uint64_t> held;                // relays of its drivers, by number
    std::map<std::uint64_t, Time> failed_until;  // by job
  };
  enum class Task { kQueued, kAway, kDone };
  struct Driver {
    std::uint64_t job = 0;
    int pool = 0;
    bool alive = false;
    std::vector<Task> tasks;
    std::size_t done = 0;
    Time idle_since = 0;
  };

  void At(Time when, std::function<void()> step) {
    queue_.emplace(std::make_pair(std::max(when, now_), order_++), std::move(step));
  }
  void Fault(const std::string& text) { out_.faults.push_back(std::to_string(now_ / kMs) + " ms: " + text); }
  void Digest(const std::string& text) {
    for (const char c : text + "\n") out_.digest = (out_.digest ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  }
  bool Faulty() const { return now_ < kFaultsEnd; }
  bool Chance(unsigned percent) { return random_.Below(100) < percent; }

  // ---- accidents

  void Disturb();  // cluster_accidents.cc
  void Happen(const char* what) { out_.accidents.insert(what); }

  // ---- the scheduler

  void StartScheduler() {
    scheduler::SchedulerCore::Config config;
    config.cluster_id = "c";
    config.epoch = ++epoch_;
    config.limits.lost_after = 2 * kSecond;
    config.limits.remembered_for = 20 * kSecond;
    config.placement.bug_lost_answer_keeps_slots = bug_ == Bug::kLostAnswerKeepsSlots;
    config.placement.bug_lender_death_keeps_grant = bug_ == Bug::kLenderDeathKeepsGrant;
    config.placement.bug_old_epoch_is_free = bug_ == Bug::kOldEpochIsFree;
    config.placement.bug_own_slots_forgotten = bug_ == Bug::kOwnSlotsForgotten;
    config.placement.bug_no_fairness = bug_ == Bug::kNoFairness;
    config.placement.bug_lends_to_itself = bug_ == Bug::kLendsToItself;
    scheduler_ = std::make_unique<Scheduler>();
    scheduler_->life = ++lives_;
    std::vector<scheduler::PoolIdentity> known;
    for (const auto& [id, pool] : disk_) known.push_back(pool);
    std::vector<scheduler::GrantRecord> granted;
    for (const auto& [id, grant] : disk_grants_) granted.push_back(grant);
    scheduler_->core = std::make_unique<scheduler::SchedulerCore>(config, known, now_, granted);
    CheckRestart(known);
    WakeScheduler();
  }
  Scheduler* Living(std::uint64_t life) {
    if (scheduler_ && scheduler_->life == life) return scheduler_.get();
    return leftover_ && leftover_->life == life ? leftover_.get() : nullptr;
  }
  void WakeScheduler() {
    const Time due = scheduler_->core->NextDeadline();
    if (due == scheduler::kNever) return;
    At(std::max(due, scheduler_stopped_until_), [this, life = scheduler_->life] {
      Scheduler* who = Living(life);
      if (who && who == scheduler_.get() && who->core->NextDeadline() <= now_)
        Perform(who, who->core->OnEvent(scheduler::Tick{}, now_));
    });
  }
  void Perform(Scheduler* who, const std::vector<scheduler::Action>& actions) {
    const std::uint64_t life = who->life;
    if (bug_ == Bug::kNone) who->core->placement().Check();
    for (const scheduler::Action& action : actions) {
      if (const auto* joined = std::get_if<scheduler::PoolJoined>(&action)) {
        who->own.erase(joined->pool.pool_id);
        who->gone.erase(joined->pool.pool_id);
      } else if (const auto* gone = std::get_if<scheduler::PoolGone>(&action)) {
        who->gone[gone->pool.pool_id] = now_;
      }
    }
    CheckGrants(who);
    for (const scheduler::Action& action : actions) {
      Digest(scheduler::Describe(action));
      if (const auto* put = std::get_if<scheduler::StorePool>(&action)) {
        const bool full = now_ < disk_full_until_;
        disk_busy_until_ = std::max(disk_busy_until_, now_) + random_.Below(50) * kMs;
        At(disk_busy_until_, [this, life, put = *put, full] {
          Scheduler* still = Living(life);
          if (!still) return;
          if (!full && still == scheduler_.get()) disk_[put.pool.pool_id] = put.pool;
          Perform(still, still->core->OnEvent(scheduler::StoreDone{put.write, !full, full ? "full" : ""}, now_));
        });
      } else if (const auto* erase = std::get_if<scheduler::ErasePool>(&action)) {
        if (who == scheduler_.get()) disk_.erase(erase->pool_id);
        At(now_, [this, life, write = erase->write] {
          if (Scheduler* still = Living(life))
            Perform(still, still->core->OnEvent(scheduler::StoreDone{write, true, ""}, now_));
        });
      } else if (const auto* grants = std::get_if<scheduler::StoreGrants>(&action)) {
        const bool full = now_ < disk_full_until_;
        disk_busy_until_ = std::max(disk_busy_until_, now_) + random_.Below(20) * kMs;
        At(disk_busy_until_, [this, life, grants = *grants, full] {
          Scheduler* still = Living(life);
          if (!still) return;
          if (!full && still == scheduler_.get()) {
            for (const std::uint64_t grant : grants.erase) disk_grants_.erase(grant);
            for (const auto& grant : grants.put) disk_grants_[grant.id] = grant;
          }
          Perform(still, still->core->OnEvent(scheduler::StoreDone{grants.write, !full, full ? "full" : ""}, now_));
        });
      } else if (const auto* a = std::get_if<scheduler::ReplyRegister>(&action)) {
        Reply(who, a->token,
              LinkCore::RegisterAnswered{0, a->verdict, a->reason, "c", who->core->config().epoch, 500 * kMs,
                                         2 * kSecond});
      } else if (const auto* b = std::get_if<scheduler::ReplyHeartbeat>(&action)) {
        Reply(who, b->token,
              LinkCore::HeartbeatAnswered{0, b->verdict, b->reason, who->core->config().epoch, b->grants}, b->voided);
      }
    }
    if (who == scheduler_.get()) WakeScheduler();
  }
  template <class Answer>
  void Reply(Scheduler* who, std::uint64_t token, Answer answer, std::vector<std::uint64_t> voided = {}) {
    const auto asked = who->asked.find(token);
    if (asked == who->asked.end()) return Fault("a token was answered twice");
    const auto [i, life] = asked->second;
    answer.call = who->call_of[token];
    who->asked.erase(asked);
    Send(i, false, [this, i = i, life = life, answer, voided] {
      if (pools_[i].life != life) return;
      Feed(i, answer);
      if constexpr (std::is_same_v<Answer, LinkCore::HeartbeatAnswered>) {
        if (answer.verdict != scheduler::Verdict::kOk || !pools_[i].core->member() ||
            answer.epoch != pools_[i].core->epoch())
          return;
        TakeGrants(i, answer.grants);
        EndVoided(i, {voided.begin(), voided.end()});
      }
    });
  }

  // ---- the network between pools and the scheduler

  void Send(int i, bool up, std::function<void()> deliver) {
    const bool faulty = Faulty();
    if (faulty && (up ? now_ < from_cut_[i] : now_ < to_cut_[i])) return;
    if (faulty && Chance(8)) return Happen("message lost");
    const int copies = faulty && Chance(8) ? 2 : 1;
    if (copies == 2) Happen("message repeated");
    for (int k = 0; k < copies; ++k) {
      const bool late = faulty && Chance(8);
      if (late) Happen("message late");
      At(now_ + (1 + random_.Below(late ? 2500 : 5)) * kMs, deliver);
    }
  }
  template <class Request>
  void Ask(int i, std::uint64_t call, Request request) {
    const std::uint64_t life = pools_[i].life;
    pools_[i].open[call] = now_;
    Send(i, true, [this, i, life, call, request] {
      Scheduler* who = leftover_ && Faulty() && Chance(20) ? leftover_.get() : scheduler_.get();
      const Time when = std::max(now_, who == scheduler_.get() ? scheduler_stopped_until_ : now_);
      At(when, [this, i, life, call, request, target = who->life] {
        Scheduler* still = Living(target);
        if (!still) return;
        Request copy = request;
        copy.token = ++tokens_;
        still->asked[copy.token] = {i, life};
        still->call_of[copy.token] = call;
        const auto actions = still->core->OnEvent(copy, now_);
        if constexpr (std::is_same_v<Request, scheduler::HeartbeatArrived>) {
          const scheduler::Node* node = still->core->nodes().Find(copy.pool_id);
          if (node && node->identity.incarnation == copy.incarnation && node->sequence == copy.sequence)
            still->own[copy.pool_id] = copy.report.own_milli;
        } else {
          still->own.erase(copy.pool.pool_id);
        }
        Perform(still, actions);
      });
    });
    At(now_ + 2 * kSecond, [this, i, life, call] {
      if (pools_[i].life == life && pools_[i].open.erase(call)) Feed(i, LinkCore::CallFailed{call, "no answer", false});
    });
  }

  // ---- pools

  void StartPool(int i) {
    Pool& pool = pools_[i];
    if (pool.core && pool.life) KillPool(i);
    pool = {};
    pool.life = ++lives_;
    pool.slots = i < 4 ? static_cast<std::uint32_t>(i % 2) : 2 + static_cast<std::uint32_t>(random_.Below(3));
    LinkCore::Config config;
    config.pool.pool_id = "p" + std::to_string(i);
    config.pool.incarnation = pool.life;
    config.offer.cpus_milli = pool.slots * 1000;
    config.offer.address = pool.slots ? "h" + std::to_string(i) + ":1" : "";
    config.seed = random_.Next();
    config.bug_sequence_starts_over = bug_ == Bug::kSequenceStartsOver;
    pool.core = std::make_unique<LinkCore>(config);
    Tell(i);
  }
  void KillPool(int i) {
    Pool& pool = pools_[i];
    if (!pool.core) return;
    pool.core.reset();
    pool.life = ++lives_;
    for (const auto& [number, relay] : Copy(relays_)) {
      if (relay.near == i) NearDies(number);
      if (relay.far == i) FarDies(number);
    }
    for (int d = 0; d < static_cast<int>(drivers_.size()); ++d) {
      if (drivers_[d].pool != i || !drivers_[d].alive) continue;
      KillDriver(d);
      At(now_ + 3500 * kMs, [this, d] { StartDriver(d); });
    }
  }
  template <class Map>
  static Map Copy(const Map& map) {
    return map;
  }
  // What the pool reports, as a level.
  void Tell(int i) {
    Pool& pool = pools_[i];
    if (!pool.core || pool.stopped) return;
    scheduler::PoolLoad load;
    load.slots = pool.slots;
    scheduler::PoolReport report;
    report.own_milli = pool.own * 1000;
    for (const Driver& driver : drivers_) {
      if (!driver.alive || driver.pool != i) continue;
      const std::size_t left = driver.tasks.size() - driver.done;
      const auto failed = pool.failed_until.find(driver.job);
      if (left == 0 || (failed != pool.failed_until.end() && failed->second > now_)) continue;
      scheduler::LeaseWant want;
      want.job = driver.job;
      want.slots = static_cast<std::uint32_t>(std::min<std::size_t>(left, 12));
      report.wants.push_back(want);
    }
    for (const std::uint64_t number : pool.held) {
      const Relay& relay = relays_.at(number);
      if (!relay.leaving) report.held.push_back(relay.grant);
    }
    Feed(i, LinkCore::LoadChanged{load, report});
  }
  void Wake(int i) {
    Pool& pool = pools_[i];
    if (!pool.core || pool.stopped) return;
    const Time due = pool.core->NextDeadline();
    if (due == scheduler::kNever) return;
    At(due, [this, i, life = pool.life] {
      Pool& still = pools_[i];
      if (still.life == life && still.core && !still.stopped && still.core->NextDeadline() <= now_)
        Feed(i, LinkCore::Tick{});
    });
  }
  void Feed(int i, const LinkCore::Event& event) {
    Pool& pool = pools_[i];
    if (!pool.core) return;
    if (pool.stopped) {  // it reads this when it goes on
      At(now_ + 200 * kMs, [this, i, life = pool.life, event] {
        if (pools_[i].life == life) Feed(i, event);
      });
      return;
    }
    std::visit(
        [&](const auto& e) {
          if constexpr (requires { e.call; }) pool.open.erase(e.call);
        },
        event);
    for (const LinkCore::Action& action : pool.core->OnEvent(event, now_)) {
      if (const auto* join = std::get_if<scheduler::RegisterArrived>(&action)) {
        Ask(i, join->token, *join);
      } else if (const auto* beat = std::get_if<scheduler::HeartbeatArrived>(&action)) {
        Ask(i, beat->token, *beat);
      } else if (std::holds_alternative<LinkCore::Fence>(action) && bug_ != Bug::kNeverFences) {
        for (const auto& [number, relay] : Copy(relays_))
          if (relay.far == i && relay.far_life == pool.life) FarDies(number);
      }
    }
    pool.epoch = pool.core->epoch();
    Wake(i);
  }

  void TakeGrants(int i, const std::vector<GrantInfo>& grants) {
    Pool& pool = pools_[i];
    std::set<std::uint64_t> valid;
    for (const GrantInfo& grant : grants) {
      valid.insert(grant.id);
      const bool known = std::any_of(pool.held.begin(), pool.held.end(),
                                     [&](std::uint64_t number) { return relays_.at(number).grant.id == grant.id; });
      if (known) continue;
      for (int d = 0; d < kDrivers; ++d) {
        const Driver& driver = drivers_[d];
        if (!driver.alive || driver.pool != i || driver.job != grant.job || driver.done == driver.tasks.size())
          continue;
        const std::uint64_t number = ++relay_numbers_;
        Relay relay;
        relay.number = number;
        relay.grant = grant;
        relay.near = i;
        relay.near_life = pool.life;
        relay.driver = d;
        relay.far = grant.lender[1] - '0';
        relays_[number] = relay;
        pool.held.insert(number);
        At(now_ + (2 + random_.Below(Faulty() && Chance(10) ? 1500 : 20)) * kMs, [this, number] { Admit(number); });
      }
    }
    for (const std::uint64_t number : std::set(pool.held)) {
      if (!relays_.contains(number) || relays_.at(number).leaving) continue;
      Relay& relay = relays_.at(number);
      if (valid.contains(relay.grant.id)) continue;
      if (relay.revoked) Fault("a grant that is over is used on");
      relay.revoked = true;
      if (bug_ != Bug::kIgnoresRevocation) Leave(number);
    }
    Tell(i);
  }

  // The far half comes up, shows its ticket, and takes tasks.
  void Admit(std::uint64_t number) {
    const auto at = relays_.find(number);
    if (at == relays_.end() || !at->second.near_alive) return;
    Relay& relay = at->second;
    Pool& lender = pools_[relay.far];
    const GrantInfo& grant = relay.grant;
    bool good = lender.core && !lender.stopped && lender.slots > 0 &&
                (!lender.core->fenced() || (bug_ == Bug::kAdmitsWhenFenced && lender.core->member()));
    if (good && !lender.used.insert(grant.id).second && bug_ != Bug::kTicketIsGoodTwice) good = false;
    if (good && grant.id >> 40 != lender.epoch && bug_ != Bug::kOldEpochAdmitted) good = false;
    if (good && grant.lender_incarnation != lender.life && bug_ != Bug::kOldLifeAdmitted) good = false;
    if (Faulty() && Chance(5)) good = false, Happen("relay refused");
    if (!good) {
      Pool& borrower = pools_[relay.near];
      borrower.failed_until[drivers_[relay.driver].job] = now_ + 100 * kMs;
      const int near = relay.near;
      NearDies(number);
      At(now_ + 101 * kMs, [this, near] { Tell(near); });
      return;
    }
    if (!admitted_.insert({relay.far, lender.life, grant.id}).second) Fault("a ticket was good twice");
    if (grant.lender_incarnation != lender.life) Fault("a ticket of an earlier life was good");
    if (grant.id >> 40 != lender.epoch) Fault("a ticket of an earlier epoch was good");
    relay.far_alive = relay.admitted = true;
    relay.far_life = lender.life;
    // A replay by somebody who has seen it: refused, or found by the check above.
    if (Faulty() && Chance(5)) {
      Happen("ticket replayed");
      if (bug_ == Bug::kTicketIsGoodTwice) Fault("a ticket was good twice");
    }
    Push(number);
  }

  void Push(std::uint64_t number) {
    const auto at = relays_.find(number);
    if (at == relays_.end()) return;
    Relay& relay = at->second;
    Driver& driver = drivers_[relay.driver];
    if (!relay.near_alive || !relay.far_alive || relay.leaving || !driver.alive) return;
    for (int t = 0; t < static_cast<int>(driver.tasks.size()) && relay.away.size() < relay.grant.slots; ++t) {
      if (driver.tasks[t] != Task::kQueued) continue;
      driver.tasks[t] = Task::kAway;
      relay.away.insert(t);
      const Time took = (5 + random_.Below(400)) * kMs;
      At(now_ + took, [this, number, t, job = driver.job, d = relay.driver] { Done(number, t, d, job); });
    }
    CheckLender(relay.far);
  }
  void Done(std::uint64_t number, int t, int d, std::uint64_t job) {
    Driver& driver = drivers_[d];
    if (!driver.alive || driver.job != job) return;
    const auto at = relays_.find(number);
    const bool stands = at != relays_.end() && at->second.near_alive && at->second.far_alive;
    if (stands && Faulty() && Chance(3)) {  // its worker died: run again there
      Happen("worker dies");
      At(now_ + 20 * kMs, [this, number, t, d, job] { Done(number, t, d, job); });
      return;
    }
    if (!stands && bug_ != Bug::kTakesFromTheDead) return;
    if (driver.tasks[t] == Task::kDone) return Fault("a result was delivered twice");
    if (stands) at->second.away.erase(t);
    driver.tasks[t] = Task::kDone;
    ++driver.done;
    ++out_.tasks;
    if (driver.done == driver.tasks.size()) {
      driver.idle_since = now_;
      At(now_ + kSecond, [this, d, job] { Idle(d, job); });
      Tell(driver.pool);
    } else if (stands) {
      Push(number);
    }
    if (stands && relays_.contains(number) && relays_.at(number).leaving && relays_.at(number).away.empty())
      NearDies(number);
  }
  void Idle(int d, std::uint64_t job) {
    if (drivers_[d].job != job || bug_ == Bug::kKeepsIdleGrants) return;
    for (const auto& [number, relay] : Copy(relays_))
      if (relay.driver == d) Leave(number);
    Tell(drivers_[d].pool);
  }
  void EndVoided(int i, const std::set<std::uint64_t>& voided) {
    for (const auto& [number, relay] : Copy(relays_))
      if (relay.far == i && relay.far_alive && relay.far_life == pools_[i].life && voided.contains(relay.grant.id))
        FarDies(number);
  }
  void Leave(std::uint64_t number) {
    Relay& relay = relays_.at(number);
    relay.leaving = true;
    if (relay.away.empty()) NearDies(number);
  }
  void NearDies(std::uint64_t number) { End(number, true); }
  void FarDies(std::uint64_t number) { End(number, false); }
  // One half ends; the other hears of it soon, by the stream.
  void End(std::uint64_t number, bool near) {
    const auto at = relays_.find(number);
    if (at == relays_.end()) return;
    Relay& relay = at->second;
    const bool first = relay.near_alive && (relay.far_alive || !relay.admitted);
    (near ? relay.near_alive : relay.far_alive) = false;
    if (near) {
      pools_[relay.near].held.erase(number);
      Driver& driver = drivers_[relay.driver];
      if (driver.alive && driver.job == relay.grant.job && bug_ != Bug::kForgetsOnRelayDeath) {
        for (const int t : relay.away) {
          if (driver.tasks[t] != Task::kAway) continue;
          driver.tasks[t] = Task::kQueued;
          ++out_.reruns;
        }
      }
      relay.away.clear();
    }
    if (!relay.near_alive && (!relay.far_alive || !relay.admitted)) {
      const int i = relay.near;
      relays_.erase(at);
      Tell(i);
      for (const auto& [other, one] : Copy(relays_))
        if (one.near == i) Push(other);
      return;
    }
    if (first) {
      At(now_ + (1 + random_.Below(Faulty() && Chance(20) ? 2000 : 5)) * kMs,
         [this, number, near] { End(number, !near); });
    }
    if (near) Tell(relay.near);
  }

  void StartDriver(int d) {
    Driver& driver = drivers_[d];
    if (driver.alive) KillDriver(d);
    driver = {};
    driver.pool = d % 3;  // two of them on one pool: a report has several jobs
    driver.job = ++lives_;
    if (!pools_[driver.pool].core) {
      At(now_ + 500 * kMs, [this, d] { StartDriver(d); });
      return;
    }
    driver.alive = true;
    driver.tasks.assign(now_ < kWorkEnd - 20 * kSecond ? 20 + random_.Below(120) : 4, Task::kQueued);
    Tell(driver.pool);
  }
  void KillDriver(int d) {
    Driver& driver = drivers_[d];
    if (!driver.alive) return;
    driver.alive = false;
    for (const auto& [number, relay] : Copy(relays_))
      if (relay.driver == d) NearDies(number);
    Tell(driver.pool);
  }

  // ---- what must hold

  // cluster_checks.cc
  bool IsOverlent(int i) const;
  void CheckLender(int i);
  void Look();
  void CheckGrants(Scheduler* who);
  void CheckRestart(const std::vector<scheduler::PoolIdentity>& known);
  void CheckEnd();

  Random random_;
  const Bug bug_;
  Outcome out_;
  Time now_ = 0;
  std::uint64_t order_ = 0, lives_ = 0, epoch_ = 0, tokens_ = 0, relay_numbers_ = 0;
  std::map<std::pair<Time, std::uint64_t>, std::function<void()>> queue_;
  std::unique_ptr<Scheduler> scheduler_, leftover_;
  std::map<std::string, scheduler::PoolIdentity> disk_;
  std::map<std::uint64_t, scheduler::GrantRecord> disk_grants_;
  std::vector<Pool> pools_;
  std::vector<Driver> drivers_;
  std::map<std::uint64_t, Relay> relays_;
  std::set<std::tuple<int, std::uint64_t, std::uint64_t>> admitted_;
  std::map<int, Time> to_cut_, from_cut_;
  std::map<int, std::uint64_t> watched_;
  Time scheduler_stopped_until_ = 0, disk_full_until_ = 0, disk_busy_until_ = 0;
};

}  // namespace sheaf::cluster
