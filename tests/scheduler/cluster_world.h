// A whole cluster in one thread: the real scheduler core with its placement, a real link core per pool, and a model of what
// pools, relays and drivers do between them. Seeded time, network, disk and accidents.
//
// A job that pauses parks its relays and may go on by credits: docs/decisions/0008.
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

  Outcome Run();

 private:
  struct Question {  // that an answer is to
    Time asked = 0;
    std::set<std::uint64_t> held;
  };
  struct Scheduler {
    std::uint64_t life = 0;
    std::unique_ptr<scheduler::SchedulerCore> core;
    std::map<std::uint64_t, std::pair<int, std::uint64_t>> asked;
    std::map<std::uint64_t, std::uint64_t> call_of;
    std::map<std::uint64_t, Question> question_of;
    std::map<std::string, std::uint64_t> own;  // what the pools' own jobs use, as heard last
    std::map<std::string, Time> gone;
    std::set<std::uint64_t> seen;  // grants
  };
  struct Relay {  // both halves and the stream between them; they end together, but not at the same time
    std::uint64_t number = 0;
    GrantInfo grant;
    int near = 0, far = 0, driver = 0;
    std::uint64_t near_life = 0, far_life = 0;
    bool near_alive = true, far_alive = false, admitted = false, leaving = false, revoked = false;
    bool parked = false, released = false;  // known to the borrower; and to the lender
    bool unconfirmed = false, showing = false;
    GrantInfo credit;  // id 0: none
    Time credit_until = 0, parked_at = 0;
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

  void At(Time when, std::function<void()> step);
  void Fault(const std::string& text) { out_.faults.push_back(std::to_string(now_ / kMs) + " ms: " + text); }
  void Digest(const std::string& text);
  bool Faulty() const { return now_ < kFaultsEnd; }
  bool Chance(unsigned percent) { return random_.Below(100) < percent; }

  // ---- accidents

  void Disturb();  // cluster_accidents.cc
  void Happen(const char* what) { out_.accidents.insert(what); }

  // ---- the scheduler

  void StartScheduler();
  Scheduler* Living(std::uint64_t life);
  void WakeScheduler();
  void Perform(Scheduler* who, const std::vector<scheduler::Action>& actions);
  template <class Answer>
  void Reply(Scheduler* who, std::uint64_t token, Answer answer, std::vector<std::uint64_t> voided = {},
             std::vector<scheduler::CreditInfo> credits = {}) {
    const auto asked = who->asked.find(token);
    if (asked == who->asked.end()) return Fault("a token was answered twice");
    const auto [i, life] = asked->second;
    answer.call = who->call_of[token];
    who->asked.erase(asked);
    const Question question = who->question_of[token];
    Send(i, false, [this, i = i, life = life, answer, voided, credits, question] {
      if (pools_[i].life != life) return;
      Feed(i, answer);
      if constexpr (std::is_same_v<Answer, LinkCore::HeartbeatAnswered>) {
        if (answer.verdict != scheduler::Verdict::kOk || !pools_[i].core->member() ||
            answer.epoch != pools_[i].core->epoch())
          return;
        TakeGrants(i, answer.grants, question.held);
        TakeCredits(i, credits, question.asked);
        EndVoided(i, {voided.begin(), voided.end()});
      }
    });
  }

  // ---- the network between pools and the scheduler

  void Send(int i, bool up, std::function<void()> deliver);
  template <class Request>
  void Ask(int i, std::uint64_t call, Request request) {
    const std::uint64_t life = pools_[i].life;
    pools_[i].open[call] = now_;
    Question question{now_, {}};
    if constexpr (std::is_same_v<Request, scheduler::HeartbeatArrived>)
      for (const GrantInfo& grant : request.report.held) question.held.insert(grant.id);
    Send(i, true, [this, i, life, call, request, question] {
      Scheduler* who = leftover_ && Faulty() && Chance(20) ? leftover_.get() : scheduler_.get();
      const Time when = std::max(now_, who == scheduler_.get() ? scheduler_stopped_until_ : now_);
      At(when, [this, i, life, call, request, question, target = who->life] {
        Scheduler* still = Living(target);
        if (!still) return;
        Request copy = request;
        copy.token = ++tokens_;
        still->asked[copy.token] = {i, life};
        still->call_of[copy.token] = call;
        still->question_of[copy.token] = question;
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

  void StartPool(int i);
  void KillPool(int i);
  template <class Map>
  static Map Copy(const Map& map) {
    return map;
  }
  // What the pool reports, as a level.
  void Tell(int i);
  void Wake(int i);
  void Feed(int i, const LinkCore::Event& event);

  void TakeGrants(int i, const std::vector<GrantInfo>& grants, const std::set<std::uint64_t>& reported);

  // The far half comes up, shows its ticket, and takes tasks.
  void Admit(std::uint64_t number);
  bool TakesTicket(int lender, const GrantInfo& grant);
  void Serve(std::uint64_t number);

  // ---- cluster_credits.cc: relays that are parked, and go on

  void Park(std::uint64_t number);
  void TakeCredits(int i, const std::vector<scheduler::CreditInfo>& credits, Time asked);
  bool RenewParked(int i, const GrantInfo& grant);
  void ShowTicket(std::uint64_t number);
  void GoOn(int d);
  void ShowCredit(std::uint64_t number);
  void AnswerCredit(std::uint64_t number, std::uint64_t credit);
  bool HasRoomFor(int lender, const GrantInfo& grant) const;
  void Burst(int d, std::uint64_t job);

  void Push(std::uint64_t number);
  void Done(std::uint64_t number, int t, int d, std::uint64_t job);
  void Idle(int d, std::uint64_t job);
  void EndVoided(int i, const std::set<std::uint64_t>& voided);
  void Leave(std::uint64_t number);
  void NearDies(std::uint64_t number) { End(number, true); }
  void FarDies(std::uint64_t number) { End(number, false); }
  // One half ends; the other hears of it soon, by the stream.
  void End(std::uint64_t number, bool near);

  void StartDriver(int d);
  void KillDriver(int d);

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
  std::map<int, std::uint64_t> watched_;  // lenders with more to others than they have, and when that was seen first
  Time scheduler_stopped_until_ = 0, disk_full_until_ = 0, disk_busy_until_ = 0;
};

}  // namespace sheaf::cluster
