// The simulated cluster's scheduler, its disk, and the network that pools reach it by.
#include "tests/scheduler/cluster_world.h"

namespace sheaf::cluster {

Outcome World::Run() {
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

void World::At(Time when, std::function<void()> step) {
  queue_.emplace(std::make_pair(std::max(when, now_), order_++), std::move(step));
}

void World::Digest(const std::string& text) {
  for (const char c : text + "\n") out_.digest = (out_.digest ^ static_cast<unsigned char>(c)) * 0x100000001b3;
}

void World::StartScheduler() {
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
  config.placement.bug_credit_needs_no_room = bug_ == Bug::kCreditNeedsNoRoom;
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

World::Scheduler* World::Living(std::uint64_t life) {
  if (scheduler_ && scheduler_->life == life) return scheduler_.get();
  return leftover_ && leftover_->life == life ? leftover_.get() : nullptr;
}

void World::WakeScheduler() {
  const Time due = scheduler_->core->NextDeadline();
  if (due == scheduler::kNever) return;
  At(std::max(due, scheduler_stopped_until_), [this, life = scheduler_->life] {
    Scheduler* who = Living(life);
    if (who && who == scheduler_.get() && who->core->NextDeadline() <= now_)
      Perform(who, who->core->OnEvent(scheduler::Tick{}, now_));
  });
}

void World::Perform(Scheduler* who, const std::vector<scheduler::Action>& actions) {
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
      Reply(
          who, a->token,
          LinkCore::RegisterAnswered{0, a->verdict, a->reason, "c", who->core->config().epoch, 500 * kMs, 2 * kSecond});
    } else if (const auto* b = std::get_if<scheduler::ReplyHeartbeat>(&action)) {
      Reply(who, b->token, LinkCore::HeartbeatAnswered{0, b->verdict, b->reason, who->core->config().epoch, b->grants},
            b->voided, b->credits);
    }
  }
  if (who == scheduler_.get()) WakeScheduler();
}

void World::Send(int i, bool up, std::function<void()> deliver) {
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

}  // namespace sheaf::cluster
