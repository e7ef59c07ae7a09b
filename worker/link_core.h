// The pool's side of membership in a cluster: register, heartbeat, come back, leave.
//
//   away --register ok--> member --"register again"--> away        leaving: one goodbye, then ended
//    ^  \--refused: asks again, slowly   \--superseded--> ended
//    +-- no answer: asks again after a growing, random delay
//
// One call is open at a time; an answer that names another call is ignored. Answers of a scheduler whose epoch is lower
// than one already seen of the same cluster are ignored: it is the leftover of a restart. Whatever happens here, the
// pool goes on serving its machine.
// Sans-IO: events and the time in, actions out. One owner thread; not synchronised.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "scheduler/scheduler_core.h"

namespace sheaf::worker {

class LinkCore {
 public:
  using Time = scheduler::Time;

  struct Config {
    scheduler::PoolIdentity pool;
    scheduler::PoolOffer offer;
    std::uint64_t seed = 1;  // of the random delays
    Time delay_first = 50'000'000;
    Time delay_max = 500'000'000;
    Time refused_delay = 30'000'000'000;
    Time heartbeat_interval = 1'000'000'000;  // until the scheduler says another
    Time wanting_interval = 50'000'000;       // while jobs want more elsewhere than they were granted
    Time fence_after = 1'500'000'000;         // without a word from the scheduler, until it says another
    bool bug_sequence_starts_over = false;    // a deliberate mistake, for tests that must find it
  };

  // Events.
  struct LoadChanged {
    scheduler::PoolLoad load;
    scheduler::PoolReport report;
  };
  struct RegisterAnswered {
    std::uint64_t call = 0;
    scheduler::Verdict verdict = scheduler::Verdict::kOk;
    std::string reason, cluster_id;
    std::uint64_t epoch = 0;
    Time heartbeat_interval = 0;
    Time lost_after = 0;
  };
  struct HeartbeatAnswered {
    std::uint64_t call = 0;
    scheduler::Verdict verdict = scheduler::Verdict::kOk;
    std::string reason;
    std::uint64_t epoch = 0;
    std::vector<scheduler::GrantInfo> grants;
  };
  struct CallFailed {
    std::uint64_t call = 0;
    std::string reason;
    // The scheduler's machine said that nobody listens: it is down, not cut off from us, and declares nobody lost.
    bool refused = false;
  };
  struct LeaveAnswered {  // or given up
    std::uint64_t call = 0;
  };
  struct Leave {};
  struct Tick {};
  using Event = std::variant<LoadChanged, RegisterAnswered, HeartbeatAnswered, CallFailed, LeaveAnswered, Leave, Tick>;

  // Actions. The messages' tokens carry the call's number.
  struct SendLeave {
    std::uint64_t call = 0, incarnation = 0, epoch = 0;
    std::string pool_id;
  };
  struct Say {  // a line for the log; said on a change only
    std::string text;
  };
  struct Ended {
    std::string why;
  };
  // Silence for so long that the scheduler may have declared this pool lost, and granted its jobs' slots elsewhere: what
  // runs here for other pools must end.
  struct Fence {};
  using Action = std::variant<scheduler::RegisterArrived, scheduler::HeartbeatArrived, SendLeave, Say, Ended, Fence>;

  explicit LinkCore(Config config);

  // How long a pool may be without a word from a scheduler that gives it up after `lost_after`.
  static constexpr Time FenceAfter(Time lost_after) { return lost_after * 3 / 4; }

  std::vector<Action> OnEvent(const Event& event, Time now);
  // When a Tick is due; kNever while a call is open.
  Time NextDeadline() const;

  bool member() const { return state_ == State::kMember; }
  // Cut off for so long that nothing may be begun for other pools.
  bool fenced() const { return state_ != State::kMember || fence_at_ == scheduler::kNever; }
  bool ended() const { return state_ == State::kEnded; }
  // Empty, or why there is no cluster for this pool at the moment.
  std::string trouble() const { return state_ == State::kMember || !said_.empty() ? said_ : "it has not answered yet"; }
  std::uint64_t epoch() const { return epoch_; }

 private:
  enum class State { kAway, kMember, kLeaving, kEnded };

  void On(const LoadChanged& event, Time now);
  void On(const RegisterAnswered& event, Time now);
  void On(const HeartbeatAnswered& event, Time now);
  void On(const CallFailed& event, Time now);
  void On(const LeaveAnswered& event, Time now);
  void On(const Leave& event, Time now);
  void On(const Tick& event, Time now);
  void GoAway(const std::string& why);
  void Retry(Time now, const std::string& why);
  void SendGoodbye();
  void End(std::string why);
  bool Settles(std::uint64_t call);

  Config config_;
  State state_ = State::kAway;
  scheduler::PoolLoad load_;
  scheduler::PoolReport report_, sent_;
  Time fence_at_ = scheduler::kNever;
  bool load_known_ = false;
  bool leave_wanted_ = false;
  std::string cluster_id_;
  std::uint64_t epoch_ = 0;  // the highest seen of cluster_id_
  std::uint64_t sequence_ = 0;
  std::uint64_t next_call_ = 1;
  std::uint64_t open_call_ = 0;  // 0: none
  Time next_attempt_ = 0;
  unsigned failures_ = 0;  // in a row
  std::uint64_t random_;
  std::string said_;  // of what goes wrong, until it goes well
  std::vector<Action> actions_;
};

}  // namespace sheaf::worker
