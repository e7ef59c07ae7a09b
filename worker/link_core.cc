#include "worker/link_core.h"

#include <algorithm>
#include <utility>

namespace sheaf::worker {
namespace {

using scheduler::Verdict;

// SplitMix64 (Steele, Lea, Flood 2014): one multiply-xorshift round per number, good enough for delays.
std::uint64_t NextRandom(std::uint64_t* state) {
  std::uint64_t z = (*state += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

}  // namespace

LinkCore::LinkCore(Config config) : config_(std::move(config)), random_(config_.seed) {}

std::vector<LinkCore::Action> LinkCore::OnEvent(const Event& event, Time now) {
  actions_.clear();
  std::visit([&](const auto& e) { On(e, now); }, event);
  return std::exchange(actions_, {});
}

LinkCore::Time LinkCore::NextDeadline() const {
  if (state_ == State::kEnded || !load_known_) return scheduler::kNever;
  return open_call_ != 0 ? fence_at_ : std::min(next_attempt_, fence_at_);
}

void LinkCore::On(const LoadChanged& event, Time now) {
  load_ = event.load;
  load_known_ = true;
  report_ = event.report;
  if (state_ == State::kMember && (report_.wants != sent_.wants || report_.held != sent_.held))
    next_attempt_ = std::min(next_attempt_, now);
}

void LinkCore::On(const Tick&, Time now) {
  if (fence_at_ <= now) {
    fence_at_ = scheduler::kNever;
    actions_.push_back(Fence{});
  }
  if (open_call_ != 0 || !load_known_ || state_ == State::kEnded || next_attempt_ > now) return;
  if (state_ == State::kAway) {
    open_call_ = next_call_++;
    actions_.push_back(scheduler::RegisterArrived{open_call_, scheduler::kProtocol, config_.pool, load_, cluster_id_,
                                                  epoch_, config_.offer});
  } else if (state_ == State::kMember) {
    open_call_ = next_call_++;
    sent_ = report_;
    actions_.push_back(scheduler::HeartbeatArrived{open_call_, config_.pool.pool_id, config_.pool.incarnation, epoch_,
                                                   ++sequence_, load_, report_});
  }
}

void LinkCore::On(const RegisterAnswered& event, Time now) {
  if (!Settles(event.call)) return;
  if (event.cluster_id == cluster_id_ && event.epoch < epoch_) {
    Retry(now, "the scheduler that answers is an old one (epoch " + std::to_string(event.epoch) + ", epoch " +
                   std::to_string(epoch_) + " was seen)");
    return;
  }
  switch (event.verdict) {
    case Verdict::kOk:
      if (!cluster_id_.empty() && cluster_id_ != event.cluster_id) {
        actions_.push_back(Say{"the scheduler has lost its state: this is a new cluster"});
      }
      cluster_id_ = event.cluster_id;
      epoch_ = event.epoch;
      if (event.heartbeat_interval > 0) config_.heartbeat_interval = event.heartbeat_interval;
      if (event.lost_after > 0) config_.fence_after = FenceAfter(event.lost_after);
      fence_at_ = now + config_.fence_after;
      if (config_.bug_sequence_starts_over) sequence_ = 0;
      state_ = State::kMember;
      failures_ = 0;
      said_.clear();
      next_attempt_ = now;  // what it holds and wants, at once: a restarted scheduler knows nothing of it
      actions_.push_back(Say{"member of cluster " + cluster_id_ + ", epoch " + std::to_string(epoch_)});
      return;
    case Verdict::kSuperseded:
      End("this pool's place in the cluster is taken: " + event.reason);
      return;
    case Verdict::kRefused:
      Retry(now, "the scheduler refuses this pool: " + event.reason);
      next_attempt_ = now + config_.refused_delay;
      return;
    case Verdict::kRegisterAgain:
    case Verdict::kUnavailable:
      Retry(now, "the scheduler cannot take this pool now: " + event.reason);
      return;
  }
}

void LinkCore::On(const HeartbeatAnswered& event, Time now) {
  if (!Settles(event.call)) return;
  if (event.epoch < epoch_ && event.verdict != Verdict::kOk) {
    // Either the leftover of a restart, or a scheduler that lost its state and counts anew. Only registering tells.
    GoAway("the scheduler's epoch went back");
    Retry(now, "the scheduler's epoch went back");
    return;
  }
  switch (event.verdict) {
    case Verdict::kOk: {
      failures_ = 0;
      said_.clear();
      fence_at_ = now + config_.fence_after;
      std::uint64_t wanted = 0, granted = 0;
      bool fresh = false;  // the pool has yet to take it: a report without it would give it back
      for (const scheduler::LeaseWant& want : report_.wants) wanted += want.slots;
      for (const scheduler::GrantInfo& grant : event.grants) {
        granted += grant.slots;
        fresh |= std::find(report_.held.begin(), report_.held.end(), grant) == report_.held.end();
      }
      const bool changed = report_.wants != sent_.wants || report_.held != sent_.held;
      const Time soon = std::min(config_.wanting_interval, config_.heartbeat_interval);
      next_attempt_ = now + (fresh ? soon : changed ? 0 : wanted > granted ? soon : config_.heartbeat_interval);
      return;
    }
    case Verdict::kRegisterAgain:
      GoAway(event.reason);
      next_attempt_ = now;
      return;
    case Verdict::kSuperseded:
      End("this pool's place in the cluster is taken: " + event.reason);
      return;
    case Verdict::kRefused:
    case Verdict::kUnavailable:
      Retry(now, "the scheduler cannot take heartbeats now: " + event.reason);
      return;
  }
}

void LinkCore::On(const CallFailed& event, Time now) {
  if (!Settles(event.call)) return;
  if (event.refused && fence_at_ != scheduler::kNever) fence_at_ = now + config_.fence_after;
  Retry(now, event.reason);
}

void LinkCore::On(const LeaveAnswered& event, Time) {
  if (event.call == open_call_ && state_ == State::kLeaving) End("left");
}

void LinkCore::On(const Leave&, Time) {
  if (state_ == State::kEnded || leave_wanted_) return;
  leave_wanted_ = true;
  if (open_call_ != 0) return;  // said when that call is settled
  SendGoodbye();
}

// True if the answer is the open call's and still matters.
bool LinkCore::Settles(std::uint64_t call) {
  if (call != open_call_ || open_call_ == 0 || state_ == State::kLeaving) return false;
  open_call_ = 0;
  if (!leave_wanted_) return true;
  SendGoodbye();
  return false;
}

void LinkCore::SendGoodbye() {
  // Also when not a member as far as this side knows: a registration may have arrived whose answer was lost.
  state_ = State::kLeaving;
  open_call_ = next_call_++;
  actions_.push_back(SendLeave{open_call_, config_.pool.incarnation, epoch_, config_.pool.pool_id});
}

void LinkCore::GoAway(const std::string& why) {
  state_ = State::kAway;
  actions_.push_back(Say{"registering again: " + why});
}

// Full jitter: a delay between 0 and a bound that doubles, so that a cluster does not come back in step.
void LinkCore::Retry(Time now, const std::string& why) {
  const Time bound = std::min(config_.delay_max, config_.delay_first << std::min(failures_, 16u));
  next_attempt_ = now + 1 + static_cast<Time>(NextRandom(&random_) % static_cast<std::uint64_t>(bound));
  ++failures_;
  if (why == said_) return;
  said_ = why;
  actions_.push_back(Say{why});
}

void LinkCore::End(std::string why) {
  state_ = State::kEnded;
  open_call_ = 0;
  said_ = why;
  actions_.push_back(Ended{std::move(why)});
}

}  // namespace sheaf::worker
