// The simulated submitting side: runtime/dispatcher.cc, take_back.cc, completion_reader.cc, peer_death.cc.
#include <algorithm>

#include "tests/simulation/processes.h"

namespace sheaf::simulation {

using runtime::DispatchCore;
using store::HomeKind;
using store::HomeWord;

void Submitter::Submit(Task& task) {
  cluster_.world.Note("submit", self_.id, task.id);
  ++outstanding_;
  idle_since_ = 0;
  // A task's record keeps what it names until its result has been consumed.
  for (const auto* list : {&task.dependencies, &task.refs}) self_.refs.insert(list->begin(), list->end());
  task.phase = Phase::kBacklog;
  const bool alone = std::none_of(backlog_.begin(), backlog_.end(), [&](auto id) { return IsBacklog(id); });
  if (!alone || !TryPush(task)) backlog_.push_back(task.id);
  if (pairs_.size() < cluster_.options.slots) Want();
}

DispatchCore::Choice Submitter::Choose(const Task& task) {
  std::vector<DispatchCore::Input> inputs;
  for (const auto id : task.dependencies) {
    const Task& input = cluster_.TaskOf(id);
    if (input.creator == self_.id && input.pair != DispatchCore::kNone)
      inputs.push_back({input.pair, input.phase == Phase::kPushed ? input.due : 0});
  }
  return core_.Choose(inputs, cluster_.options.cost);
}

bool Submitter::TryPush(Task& task) {
  const DispatchCore::Choice choice = Choose(task);
  if (choice.pair == DispatchCore::kNone) return false;
  Push(choice.pair, 0, task, choice.start);
  return true;
}

bool Submitter::InputsPushed(const Task& task) {
  return std::all_of(task.dependencies.begin(), task.dependencies.end(), [&](auto id) {
    const Task& input = cluster_.TaskOf(id);
    return input.creator != self_.id || input.phase == Phase::kPushed || input.phase == Phase::kReady;
  });
}

void Submitter::Push(int index, int lane_index, Task& task, Time start, bool inputs_ready) {
  OutPair& pair = pairs_.at(index);
  Lane& lane = pair.lanes[lane_index];
  const std::uint32_t depth = lane_index == 0 ? limits::kLaneDepth : limits::kUrgentDepth;
  if (lane.tail - lane.head >= depth) cluster_.Fail("a lane overflowed");
  const std::uint32_t position = lane.tail++;
  lane.slots[position % depth] = task.id;
  if (lane_index == 0 && !task.dependencies.empty() && !inputs_ready) pair.may_wait = lane.tail;
  task.phase = Phase::kPushed;
  HomeWord home{HomeKind::kBound};
  home.lane = static_cast<std::uint32_t>(lane_index);
  home.worker = IndexOf(pair.peer);
  home.region = pair.peer_region;
  home.position = position;
  task.home.store(home.Pack());
  Ring::Push(lane_index == 0 ? pair.out->entries : pair.out->urgent, depth, position, task.id);
  core_.OnPushed(index, start, cluster_.options.cost, cluster_.world.now);
  task.pair = index;
  task.due = std::max<Time>(start, core_.clock()) + cluster_.options.cost;
  if (lane_index == 0) core_.At(index).full = lane.tail - lane.head >= depth;
  cluster_.world.Note(lane_index == 0 ? "push" : "push urgent", self_.id, pair.peer, task.id);
}

void Submitter::OpenOut(const lease::OpenPair& message, std::uint32_t nonce) {
  const auto index = static_cast<int>(message.out_region);
  if (pairs_.contains(index)) cluster_.Fail("an out region in use was lent again");
  OutPair& pair = pairs_[index];
  pair.peer = message.worker;
  pair.peer_region = message.in_region;
  pair.nonce = nonce;
  pair.memory = cluster_.memories.at(message.worker).get();
  pair.in = pair.memory->ins[message.in_region].get();
  pair.out = self_.memory->outs[message.out_region].get();
  pair.lanes[0].slots.assign(limits::kLaneDepth, kTakenBack);
  pair.lanes[1].slots.assign(limits::kUrgentDepth, kTakenBack);
  for (auto& entry : pair.out->entries) entry.store(0, std::memory_order_relaxed);
  for (auto& entry : pair.out->urgent) entry.store(0, std::memory_order_relaxed);
  pair.out->recall_epoch.store(0);
  pair.out->nonce.store(nonce);
  core_.Open(index);
  Pump();
}

void Submitter::Settle(Task& task, bool error, const std::uint64_t value[2]) {
  if (task.phase == Phase::kReady) cluster_.Fail("a result was delivered twice");
  task.value[0] = value[0];
  task.value[1] = value[1];
  if (!error && value[0] != task.expected) cluster_.Fail("a wrong value was delivered");
  if (error && !cluster_.faults && cluster_.Alive(self_.job))
    cluster_.Fail("a result was lost though nothing had died");
  task.home.store(HomeWord{HomeKind::kValue, error ? store::kFlagError : 0}.Pack());
  task.phase = Phase::kReady;
  if (outstanding_ == 0) cluster_.Fail("more results than tasks");
  --outstanding_;
  for (const auto* list : {&task.dependencies, &task.refs})
    for (const auto id : *list) self_.refs.erase(self_.refs.find(id));
  // The ref in the value is kept by its producer (a result record), and that is in use as long as the value is.
  if (!error && value[1] != 0) self_.refs.insert(static_cast<std::uint32_t>(value[1] - 1));
  ++cluster_.delivered;
  cluster_.errors += error;
  cluster_.world.Note("ready", self_.id, task.id, error);
}

void Submitter::Consume(int index) {
  OutPair& pair = pairs_.at(index);
  if (!pair.matched) {
    if (pair.in->nonce.load() != pair.nonce) return;
    pair.matched = true;
  }
  ConsumeLane(index, 1);
  ConsumeLane(index, 0);
  std::uint32_t before = 0;
  if (pair.recall.open && Ring::SettleRecall(*pair.out, *pair.in, &pair.recall, &before)) {
    TakeBack(index, pair.recall.taken, before);
    core_.At(index).paused = false;
  }
}

void Submitter::ConsumeLane(int index, int lane_index) {
  OutPair& pair = pairs_.at(index);
  Lane& lane = pair.lanes[lane_index];
  const std::uint32_t depth = lane_index == 0 ? limits::kLaneDepth : limits::kUrgentDepth;
  std::uint32_t count = 0;
  for (; lane.head != lane.tail; ++lane.head) {
    std::uint32_t& slot = lane.slots[lane.head % depth];
    if (slot == kTakenBack) continue;
    const auto& done = lane_index == 0 ? pair.in->done[lane.head % depth] : pair.in->urgent_done[lane.head % depth];
    if (!Ring::IsPublished(done, lane.head)) break;
    std::uint64_t payload[limits::kPayloadInline / 8] = {};
    const auto result = Ring::Copy(done, payload, limits::kPayloadInline / 8);
    Task& task = cluster_.TaskOf(slot);
    slot = kTakenBack;
    ++count;
    if (result.flags & kFlagGivenBack) {
      Requeue(task);
    } else {
      Settle(task, result.flags & store::kFlagError, payload);
    }
  }
  // What was given back need not wait for what the worker still runs.
  for (std::uint32_t position = lane.head; lane_index == 1 && position != lane.tail; ++position) {
    std::uint32_t& slot = lane.slots[position % depth];
    const auto& done = pair.in->urgent_done[position % depth];
    if (slot == kTakenBack || !Ring::IsPublished(done, position) || !(done.flags.load() & kFlagGivenBack)) continue;
    Requeue(cluster_.TaskOf(slot));
    slot = kTakenBack;
    ++count;
  }
  if (count > 0) core_.OnConsumed(index, count, std::int64_t{count} * cluster_.options.cost, cluster_.world.now);
  if (lane_index == 0) core_.At(index).full = lane.tail - lane.head >= depth;
}

void Submitter::Requeue(Task& task) {
  task.phase = Phase::kBacklog;
  task.home.store(HomeWord{HomeKind::kPending}.Pack());
  if (cluster_.options.bug == Bug::kRetryBehindConsumers) return backlog_.push_front(task.id);
  requeue_.push_back(task.id);
}

void Submitter::TakeBack(int index, std::uint32_t from, std::uint32_t end) {
  Lane& lane = pairs_.at(index).lanes[0];
  std::uint32_t count = 0;
  for (std::uint32_t position = from; position != end; ++position) {
    std::uint32_t& slot = lane.slots[position % limits::kLaneDepth];
    if (slot == kTakenBack) continue;
    Requeue(cluster_.TaskOf(slot));
    cluster_.world.Note("taken back", self_.id, slot);
    slot = kTakenBack;
    ++count;
  }
  core_.OnTakenBack(index, count, std::int64_t{count} * cluster_.options.cost);
}

void Submitter::PeerGone(Client peer) {
  for (auto at = pairs_.begin(); at != pairs_.end();) {
    const int index = at->first;
    OutPair& pair = at->second;
    if (pair.peer != peer) {
      ++at;
      continue;
    }
    if (cluster_.options.bug != Bug::kForgetsPublished) Consume(index);
    std::uint32_t begun[2] = {pair.lanes[0].head, pair.lanes[1].head};
    if (pair.matched && cluster_.options.bug != Bug::kRunsClaimedAgain)
      for (int lane = 0; lane < 2; ++lane) begun[lane] = Ring::FirstNotBegun(*pair.out, *pair.in, lane, pair.recall);
    std::vector<std::pair<std::uint32_t, bool>> lost;
    for (const int lane_index : {1, 0}) {
      Lane& lane = pair.lanes[lane_index];
      const std::uint32_t depth = lane_index == 0 ? limits::kLaneDepth : limits::kUrgentDepth;
      for (; lane.head != lane.tail; ++lane.head) {
        std::uint32_t& slot = lane.slots[lane.head % depth];
        if (slot != kTakenBack) lost.emplace_back(slot, Ring::After(begun[lane_index], lane.head));
        slot = kTakenBack;
      }
    }
    core_.Close(index);
    at = pairs_.erase(at);
    for (const auto& [id, was_begun] : lost) Retry(cluster_.TaskOf(id), was_begun, peer);
  }
  wanted_ = 0;
  Pump();
}

void Submitter::Retry(Task& task, bool begun, Client peer) {
  cluster_.world.Note("retry", self_.id, task.id, begun);
  if (begun) {
    if (task.published_by == peer) cluster_.Fail("a result that was there was thrown away");
    if (task.retries == 0) {
      const std::uint64_t nothing[2] = {};
      return Settle(task, true, nothing);
    }
    --task.retries;
    ++task.charged;
  }
  Requeue(task);
}

bool Submitter::InputsReady(const Task& task) {
  for (const auto id : task.dependencies)
    if (Probe(cluster_, self_, id).what == Look::kPending) return false;
  return true;
}

bool Submitter::TakesReady(int index) {
  const OutPair& pair = pairs_.at(index);
  const DispatchCore::Pair& at = core_.At(index);
  return !at.paused && !at.full && !Ring::After(pair.may_wait, pair.lanes[0].head);
}

bool Submitter::IsTaken(const OutPair& pair) {
  if (!pair.matched || pair.memory->executing.load() == 0) return false;
  for (int lane = 0; lane < 2; ++lane) {
    const Lane& at = pair.lanes[lane];
    if (at.head != at.tail && Ring::After(pair.in->claimed[lane].load(), at.head)) return false;
  }
  return true;
}

void Submitter::PushRequeue() {
  std::deque<std::uint32_t> later;
  for (const auto id : requeue_) {
    if (!IsBacklog(id)) continue;
    int best = DispatchCore::kNone;
    if (InputsReady(cluster_.TaskOf(id))) {
      best = core_.ChooseUrgent([&](int index) {
        const Lane& urgent = pairs_.at(index).lanes[1];
        return urgent.tail - urgent.head < limits::kUrgentDepth || TakesReady(index);
      });
    }
    if (best == DispatchCore::kNone) {
      later.push_back(id);
    } else {
      Push(best, TakesReady(best) ? 0 : 1, cluster_.TaskOf(id), core_.clock(), true);
    }
  }
  requeue_.swap(later);
}

void Submitter::PushBacklog() {
  for (std::size_t at = 0; at < backlog_.size();) {
    if (IsBacklog(backlog_[at])) {
      Task& task = cluster_.TaskOf(backlog_[at]);
      if ((at > 0 || !requeue_.empty()) && !InputsPushed(task)) {
        ++at;
        continue;
      }
      if (!TryPush(task)) {
        if (!core_.AnyIdle()) return;
        ++at;
        continue;
      }
    }
    backlog_.erase(backlog_.begin() + static_cast<std::ptrdiff_t>(at));
  }
}

void Submitter::Want() {
  std::uint32_t level = DispatchCore::Want(outstanding_, cluster_.options.slots);
  if (level > 0)
    for (const auto& [index, pair] : pairs_) level += core_.At(index).blocked;
  if (level > 0) level += core_.Lost(0);
  if (level == wanted_) return;
  wanted_ = level;
  cluster_.pool->Send(self_, lease::Want{self_.id, level, 1000});
}

void Submitter::Pump() {
  bool blocked_changed = false;
  for (auto& [index, pair] : pairs_) {
    Consume(index);
    const bool blocked = pair.memory->blocked.load() != 0;
    blocked_changed |= blocked != core_.At(index).blocked;
    core_.At(index).blocked = blocked;
    core_.At(index).starved = pair.memory->starved.load() != 0;
  }
  core_.Tick(cluster_.world.now);
  // Taking back from whoever is busy with another task saves what the older rules are for, most of the time: it goes with them.
  const Bug bug = cluster_.options.bug;
  const bool takes = bug != Bug::kNoRecallOfBlocked && bug != Bug::kNoRecallOfStarved && bug != Bug::kBlockedKeepsSlot;
  for (auto& [index, pair] : pairs_)
    core_.At(index).taken = takes && core_.MayBeTaken(index, cluster_.world.now) && IsTaken(pair);
  PushRequeue();
  PushBacklog();
  if (outstanding_ == 0) {
    if (idle_since_ == 0) idle_since_ = cluster_.world.now;
    if (wanted_ > 0 && cluster_.world.now - idle_since_ > 50 * kMilli) Want();
    return;
  }
  DispatchCore::Own own = DispatchCore::Own::kBusy;
  if (self_.executor && self_.memory->blocked.load() != 0) {
    if (cluster_.options.bug != Bug::kNoRecallOfStarved) own = DispatchCore::Own::kWaits;
  } else if (takes && self_.executor && self_.executor->idle()) {
    own = DispatchCore::Own::kIdle;
  }
  for (auto& [index, pair] : pairs_) {
    if (cluster_.options.bug == Bug::kNoRecallOfBlocked && core_.At(index).blocked) continue;
    // It would mend what the planted bugs break.
    const bool in_the_way = cluster_.options.bug == Bug::kNone &&
                            core_.IsInTheWay(index, cluster_.world.now, !requeue_.empty() || !backlog_.empty());
    if (!pair.matched || !(core_.ShouldRecall(index, cluster_.world.now, own) || in_the_way)) continue;
    if (!Ring::OpenRecall(*pair.out, *pair.in, pair.lanes[0].tail, &pair.recall)) continue;
    core_.OnRecalled(index);
    TakeBack(index, pair.recall.taken, pair.recall.end);
  }
  PushRequeue();
  const bool waiting = !requeue_.empty() || !backlog_.empty();
  if (waiting || pairs_.size() < cluster_.options.slots || blocked_changed || core_.Lost(0) > 0) Want();
}

bool Submitter::TakeForInline(Task& task) {
  if (task.phase != Phase::kBacklog) return false;
  task.phase = Phase::kInline;
  return true;
}

Task* Submitter::TakeOldestForInline() {
  for (const auto* queue : {&requeue_, &backlog_}) {
    for (const auto id : *queue) {
      Task& task = cluster_.TaskOf(id);
      if (IsBacklog(id) && InputsReady(task) && TakeForInline(task)) return &task;
    }
  }
  return nullptr;
}

void Submitter::FinishInline(Task& task, bool error, const std::uint64_t value[2]) {
  if (task.phase != Phase::kInline) cluster_.Fail("an inline run of a task that was not taken");
  Settle(task, error, value);
}

void Submitter::FailAll() {
  const std::uint64_t nothing[2] = {};
  for (auto* queue : {&requeue_, &backlog_})
    for (const auto id : std::exchange(*queue, {}))
      if (IsBacklog(id)) Settle(cluster_.TaskOf(id), true, nothing);
}

bool Submitter::Uses(Client dead) const {
  return std::any_of(pairs_.begin(), pairs_.end(), [&](const auto& pair) { return pair.second.peer == dead; });
}

std::string Submitter::Describe() const {
  std::string text = " outstanding " + std::to_string(outstanding_) + " backlog " + std::to_string(backlog_.size()) +
                     " requeue " + std::to_string(requeue_.size()) + " want " + std::to_string(wanted_);
  for (const auto& [index, pair] : pairs_) {
    text += " [" + std::to_string(pair.peer) + (pair.matched ? "" : " unmatched") + (pair.recall.open ? " recall" : "");
    for (int lane = 0; lane < 2; ++lane) {
      const std::uint32_t depth = lane == 0 ? limits::kLaneDepth : limits::kUrgentDepth;
      for (std::uint32_t p = pair.lanes[lane].head; p != pair.lanes[lane].tail; ++p)
        if (pair.lanes[lane].slots[p % depth] != kTakenBack)
          text += (lane ? " u" : " t") + std::to_string(pair.lanes[lane].slots[p % depth]);
    }
    text += "]";
  }
  return text;
}

}  // namespace sheaf::simulation
