// The simulated worker: worker/executor.cc and execution.cc. A stack of tasks, of which the top one runs.
#include <algorithm>

#include "tests/simulation/processes.h"

namespace sheaf::simulation {

constexpr Time kTellBlockedAfter = kMilli;  // as runtime/getter.cc: asleep this long, the slot is given back

void Executor::OpenIn(const lease::OpenPair& message, std::uint32_t nonce) {
  InPair& pair = pairs_[static_cast<int>(message.in_region)];
  if (pair.nonce != 0 && !pair.gone) cluster_.Fail("an in region in use was lent again");
  pair = InPair{};
  pair.peer = message.submitter;
  pair.nonce = nonce;
  pair.out = cluster_.memories.at(message.submitter)->outs[message.out_region].get();
  pair.in = self_.memory->ins[message.in_region].get();
  store::InRegion& in = *pair.in;
  for (auto& done : in.done) done.tag.store(0, std::memory_order_relaxed);
  for (auto& done : in.urgent_done) done.tag.store(0, std::memory_order_relaxed);
  for (auto& claimed : in.claimed) claimed.store(0);
  in.recall_ack.store(0);
  in.ended.store(0);
  in.submitter.store(pair.peer);
  in.nonce.store(nonce);
}

void Executor::PeerGone(Client peer) {
  for (auto& [region, pair] : pairs_)
    if (pair.peer == peer) pair.gone = true;
}

std::optional<Time> Executor::Step() {
  if (!frames_.empty()) return StepFrame();
  return LookAround();
}

// Between tasks.
std::optional<Time> Executor::LookAround() {
  if (draining_) {
    const bool leaves = cluster_.options.bug == Bug::kDrainsAtOnce || self_.submitter->outstanding() == 0;
    if (leaves) return std::nullopt;
    self_.memory->blocked.store(1);  // nobody pushes here any more, and what is queued is taken back
  }
  std::uint32_t starved = 0;
  for (auto& [region, pair] : pairs_) {
    if (pair.ended) continue;
    if (pair.gone) {
      pair.ended = true;
      pair.in->ended.store(pair.nonce);
      continue;
    }
    if (!Matched(pair)) continue;
    if (std::uint32_t head = 0; Ring::Peek(pair.out->entries, limits::kLaneDepth, pair.cursor.next, &head)) starved = 1;
    if (draining_) {
      GiveBack(pair);
      continue;
    }
    if (TryLane(region, pair, 1) || TryLane(region, pair, 0)) {
      pause_ = 0;
      self_.memory->starved.store(0);
      return cluster_.world.Chance(1, 2 * kMicro);
    }
    // The rule that it breaks: a head that is not ready keeps nobody else waiting.
    std::uint32_t task = 0;
    if (cluster_.options.bug == Bug::kHeadBlocks &&
        Ring::Peek(pair.out->entries, limits::kLaneDepth, pair.cursor.next, &task))
      break;
  }
  if (cluster_.options.bug != Bug::kIdleKeepsBacklog) {
    if (Task* own = self_.submitter->TakeOldestForInline()) {
      Begin(own->id, -1, 0, 0);
      return kMicro;
    }
  }
  self_.memory->starved.store(starved);
  pause_ = std::min<Time>(2 * kMilli, pause_ * 2 + 10 * kMicro);
  return cluster_.world.Chance(pause_ / 2, pause_);
}

bool Executor::Matched(InPair& pair) {
  if (!pair.matched) pair.matched = pair.out->nonce.load() == pair.nonce;
  return pair.matched;
}

bool Executor::Ready(const Task& task) {
  for (const auto id : task.dependencies)
    if (Probe(cluster_, self_, id).what == Look::kPending) return false;
  return true;
}

bool Executor::TryLane(int region, InPair& pair, int lane) {
  if (lane == 0 && Ring::RecallIsOpen(*pair.out, pair.cursor))
    Ring::AcknowledgeRecall(*pair.out, *pair.in, &pair.cursor);
  const std::uint32_t position = lane == 0 ? pair.cursor.next : pair.urgent_next;
  std::uint32_t id = 0;
  if (!Ring::Peek(lane == 0 ? pair.out->entries : pair.out->urgent,
                  lane == 0 ? limits::kLaneDepth : limits::kUrgentDepth, position, &id))
    return false;
  if (!Ready(cluster_.TaskOf(id))) return false;
  if (lane == 0) {
    if (!Ring::Claim(*pair.out, *pair.in, &pair.cursor)) return true;
  } else {
    Ring::AnnounceClaim(*pair.in, 1, position);
    ++pair.urgent_next;
  }
  Begin(id, region, lane, position);
  return true;
}

// This process is not going to look at its lanes soon: what is queued goes back. Lane 0 too, if nobody recalls it any more.
void Executor::GiveBack(InPair& pair) {
  if (pair.ended || !Matched(pair)) return;
  if (Ring::RecallIsOpen(*pair.out, pair.cursor)) Ring::AcknowledgeRecall(*pair.out, *pair.in, &pair.cursor);
  for (const int lane : {1, 0}) {
    if (lane == 0 && !pair.gone) continue;
    std::uint32_t& next = lane == 0 ? pair.cursor.next : pair.urgent_next;
    std::uint32_t id = 0;
    while (Ring::Peek(store::Entries(*pair.out, lane), store::LaneDepth(lane), next, &id)) {
      const std::uint32_t position = next++;
      Ring::Publish(store::CompletionAt(*pair.in, lane, position), position, kFlagGivenBack, 0, 0, nullptr);
      cluster_.world.Note("give back", self_.id, id);
    }
  }
}

void Executor::Begin(std::uint32_t id, int region, int lane, std::uint32_t position) {
  const Task& task = cluster_.TaskOf(id);
  cluster_.world.Note(region < 0 ? "claim inline" : lane ? "claim urgent" : "claim", self_.id, id);
  Frame frame;
  frame.task = id;
  frame.region = region;
  frame.lane = lane;
  frame.position = position;
  frame.script = ScriptOf(task.plan, task.seed, task.depth, task.refs.size());
  frame.value[0] = Mix(task.seed);
  frames_.push_back(std::move(frame));
  self_.memory->executing.store(1);
  for (const auto* list : {&task.dependencies, &task.refs})
    for (const auto given : *list) Hold(frames_.back(), given);
}

void Executor::Hold(Frame& frame, std::uint32_t object) {
  if (cluster_.TaskOf(object).creator == self_.id) return;
  frame.held.push_back(object);
  self_.refs.insert(object);
}

void Executor::SetBlocked(Frame& frame, bool blocked) {
  if (blocked == (frame.waits_since >= 0)) return;
  self_.memory->blocked.fetch_add(blocked ? 1 : ~0u);
  frame.waits_since = blocked ? cluster_.world.now : -1;
  if (!blocked && frame.told) {
    frame.told = false;
    // Frames below still wait, but this one runs: the process needs its slot again.
    cluster_.pool->Send(self_, lease::Blocked{self_.id, false});
  }
}

// True: *value and *error are there.
bool Executor::Await(Frame& frame, std::uint32_t object, std::uint64_t* value, bool* error) {
  const Look look = Probe(cluster_, self_, object);
  if (look.what == Look::kPending) return false;
  SetBlocked(frame, false);
  *error |= look.what == Look::kLost || look.error;
  *value = Mix(*value ^ look.value[0]);
  return true;
}

Time Executor::WorkWhileWaiting(Frame& frame, std::uint32_t object) {
  Task& task = cluster_.TaskOf(object);
  if (task.creator == self_.id) {
    self_.submitter->Pump();
    if (self_.submitter->TakeForInline(task)) {
      SetBlocked(frame, false);
      Begin(object, -1, 0, 0);
      return kMicro;
    }
  }
  SetBlocked(frame, true);
  if (!frame.told && cluster_.world.now - frame.waits_since >= kTellBlockedAfter) {
    frame.told = true;
    cluster_.pool->Send(self_, lease::Blocked{self_.id, true});
  }
  for (auto& [region, pair] : pairs_) {
    if (pair.ended || !Matched(pair)) continue;
    if (cluster_.options.bug == Bug::kUrgentOnTop && !pair.gone) {
      if (Ring::RecallIsOpen(*pair.out, pair.cursor)) Ring::AcknowledgeRecall(*pair.out, *pair.in, &pair.cursor);
      if (TryLane(region, pair, 1)) return kMicro;
    } else {
      GiveBack(pair);
    }
  }
  return cluster_.world.Chance(5 * kMicro, 20 * kMicro + (cluster_.world.now - frame.waits_since) / 8);
}

Time Executor::StepFrame() {
  Frame& frame = frames_.back();
  Task& task = cluster_.TaskOf(frame.task);
  if (frame.stage == Frame::kGather) {
    if (!frame.started && frame.region < 0) {
      // Inline: its inputs may still be missing.
      for (const auto id : task.dependencies)
        if (Probe(cluster_, self_, id).what == Look::kPending) return WorkWhileWaiting(frame, id);
    }
    SetBlocked(frame, false);
    frame.started = true;
    if (task.running_on != 0 && cluster_.Alive(task.running_on)) cluster_.Fail("a task runs in two places at once");
    if (++task.runs > task.charged + 1) cluster_.Fail("a task ran more often than it was charged for");
    if (task.phase == Phase::kReady) cluster_.Fail("a task with a result runs again");
    task.running_on = self_.id;
    for (const auto id : task.dependencies)
      if (!Await(frame, id, &frame.value[0], &frame.error)) cluster_.Fail("a claimed task's input is not there");
    cluster_.world.Note("run", self_.id, frame.task);
    frame.stage = Frame::kRun;
    return kMicro;
  }
  if (frame.stage == Frame::kPublish) {
    Publish(frame);
    Finish(frame);
    return cluster_.world.Chance(1, kMicro);
  }
  if (frame.at == frame.script.size() || frame.error) {
    frame.stage = Frame::kPublish;
    return cluster_.world.Chance(1, 2 * kMicro);
  }
  const Op& op = frame.script[frame.at];
  switch (op.kind) {
    case Op::kCompute:
      ++frame.at;
      return op.time + static_cast<Time>(cluster_.world.random.Below(1000));
    case Op::kSubmit: {
      std::vector<std::uint32_t> awaits, passes;
      for (const auto index : op.awaits) awaits.push_back(frame.children[index]);
      for (const auto index : op.passes) passes.push_back(frame.children[index]);
      if (op.passes_own_refs) passes.insert(passes.end(), task.refs.begin(), task.refs.end());
      Task& child = cluster_.NewTask(self_.id, op.plan, op.seed, task.depth - 1, awaits, passes);
      frame.children.push_back(child.id);
      ++frame.at;
      self_.submitter->Submit(child);
      return kMicro;
    }
    case Op::kGetChild:
    case Op::kGetRef: {
      const std::uint32_t object = op.kind == Op::kGetChild ? frame.children[op.index] : task.refs[op.index];
      if (!Await(frame, object, &frame.value[0], &frame.error)) return WorkWhileWaiting(frame, object);
      ++frame.at;
      return kMicro;
    }
    case Op::kReturnChild:
      frame.value[1] = frame.children[op.index] + 1u;
      ++frame.at;
      return kMicro;
  }
  return kMicro;
}

void Executor::Publish(Frame& frame) {
  Task& task = cluster_.TaskOf(frame.task);
  task.running_on = 0;
  if (frame.error) frame.value[1] = 0;
  cluster_.world.Note("seal", self_.id, frame.task, frame.error);
  if (frame.region < 0) {
    self_.submitter->FinishInline(task, frame.error, frame.value);
    return;
  }
  task.published_by = self_.id;
  InPair& pair = pairs_.at(frame.region);
  if (pair.peer != task.creator || pair.ended) return;  // nobody is there any more who would look
  store::Completion& done = store::CompletionAt(*pair.in, frame.lane, frame.position);
  Ring::Publish(done, frame.position, frame.error ? store::kFlagError : 0, sizeof frame.value, 0, frame.value);
}

void Executor::Finish(Frame& frame) {
  for (const auto object : frame.held) self_.refs.erase(self_.refs.find(object));
  frames_.pop_back();
  self_.memory->executing.store(frames_.empty() ? 0 : 1);
}

bool Executor::Uses(Client dead) const {
  for (const auto& [region, pair] : pairs_)
    if (pair.peer == dead && !pair.ended) return true;
  return std::any_of(frames_.begin(), frames_.end(),
                     [&](const Frame& frame) { return cluster_.TaskOf(frame.task).creator == dead; });
}

std::string Executor::Describe() const {
  std::string text = draining_ ? " draining" : "";
  for (const auto& frame : frames_) {
    text += " <" + std::to_string(frame.task) + " stage " + std::to_string(frame.stage) + " op " +
            std::to_string(frame.at) + (frame.waits_since >= 0 ? " waits" : "");
    if (frame.stage == Frame::kRun && frame.at < frame.script.size()) {
      const Op& op = frame.script[frame.at];
      if (op.kind == Op::kGetChild) text += " child " + std::to_string(frame.children[op.index]);
      if (op.kind == Op::kGetRef) text += " ref " + std::to_string(cluster_.TaskOf(frame.task).refs[op.index]);
    }
    text += ">";
  }
  return text;
}

}  // namespace sheaf::simulation
