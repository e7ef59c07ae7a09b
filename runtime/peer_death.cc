// What the death of another process means for us as a submitter: docs/dispatch.md, "Death".
#include <sys/wait.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/clock.h"
#include "runtime/submitter.h"

namespace sheaf::runtime {

using store::HomeKind;
using store::HomeWord;

namespace {

std::string DescribeExit(int status) {
  if (WIFSIGNALED(status)) return "was killed by signal " + std::to_string(WTERMSIG(status));
  if (WIFEXITED(status)) return "exited with code " + std::to_string(WEXITSTATUS(status));
  return "ended";
}

}  // namespace

void Submitter::PeerGoneLocked(std::uint32_t client, int status) {
  store::Peer* peer = parts_.peers->Find(client);
  if (peer) peer->gone.store(true, std::memory_order_release);
  for (int i = 0; i < core_.size(); ++i) {
    OutPair* pair = pairs_[static_cast<std::size_t>(i)].load();
    if (!pair || !pair->in_use || pair->dead || pair->peer != client) continue;
    ConsumeLocked(i);  // results that were published before the death are complete
    std::uint32_t begun[2] = {pair->lanes[0].head, pair->lanes[1].head};
    if (pair->matched) {
      for (int lane = 0; lane < 2; ++lane) begun[lane] = Ring::FirstNotBegun(*pair->out, *pair->in, lane, pair->recall);
    }
    pair->dead = true;
    pair->in_use = false;  // our half may serve another worker at once: nobody reads it any more
    std::vector<ObjectRoot*> lost;
    std::vector<bool> lost_begun;
    for (int lane_index : {1, 0}) {
      Lane& lane = pair->lanes[lane_index];
      const std::uint32_t depth = store::LaneDepth(lane_index);
      for (; lane.head != lane.tail; ++lane.head) {
        std::uint32_t& slot = lane.slots[lane.head % depth];
        if (slot == kTakenBack) continue;
        lost.push_back(slots_.RootOf(slot));
        lost_begun.push_back(static_cast<std::int32_t>(begun[lane_index] - lane.head) > 0);
        slot = kTakenBack;
      }
    }
    for (std::size_t k = 0; k < lost.size(); ++k) RetryLocked(*pair, lost[k], lost_begun[k], status);
    core_.Close(i);
    std::erase(active_, pair);
    relays_ -= pair->places > 0 ? 1 : 0;
    std::unordered_map<std::uint64_t, std::int64_t>().swap(pair->there);
    std::vector<Pin> holds;
    holds.swap(pair->recall_holds);
    for (Pin& hold : holds) DropLocked(std::move(hold));
    if (peer) peer->uses.fetch_sub(1, std::memory_order_relaxed);
  }
  LoseAwayLocked(client);  // before anything that takes it is pushed again
  // Who it was that the wishes counted on is not known: they are said again.
  for (ShapeQueue& queue : shapes_) queue.wanted = queue.wanted_elsewhere = queue.wanted_milli = 0;
  PumpLocked();
  if (local_sleepers > 0) RingLocked();
  AcknowledgeDeadLocked();
}

void Submitter::RetryLocked(OutPair& pair, ObjectRoot* root, bool begun, int status) {
  if (begun) {
    // It may have lent its arguments to others that still run: they stay until it is forgotten.
    auto& lent = lent_by_dead_[pair.peer];
    lent.push_back(Pin::Share(root));
    if (root->extra)
      for (const Pin& hold : root->extra->holds) lent.push_back(hold);
    if (root->retries == 0) {
      // A relay's own exit says nothing to who reads this.
      const std::string what = pair.places > 0 ? "another machine ran this task, and it or the way to it was lost"
                                               : "the worker that ran this task " + DescribeExit(status);
      FailLocked(
          root, "WorkerDiedError",
          what + " in attempt " + std::to_string(root->attempt) + "; no retries are left (see TaskOptions.retries)");
      return;
    }
    --root->retries;
    ++root->attempt;
    slots_.SlotOf(*root).task.attempt = root->attempt;
    slots_.SlotOf(*root).task.retries = static_cast<std::uint16_t>(root->retries);
  }
  RequeueLocked(root);
}

void Submitter::FailLocked(ObjectRoot* root, std::string_view kind, const std::string& message) {
  if (root->phase == Phase::kReady) return;
  SHEAF_CHECK(root->phase == Phase::kPushed || root->phase == Phase::kInline);  // in no queue
  detail::Encoder error;
  const std::string name = root->extra && !root->extra->name.empty()
                               ? root->extra->name
                               : detail::DescribeFunction(slots_.SlotOf(*root).task.function);
  detail::EncodeRuntimeError(kind, place.empty() ? message : message + " (on " + place + ")", {name, root->attempt},
                             error);
  const auto payload = error.payload();
  store::HomeSlot& home = HomeOf(*root);
  std::uint32_t flags = store::kFlagError;
  std::vector<Pin> holds;
  if (payload.size() <= limits::kPayloadInline) {
    home.size = static_cast<std::uint32_t>(payload.size());
    std::memcpy(home.payload, payload.data(), payload.size());
  } else {
    const store::OwnBlock block = parts_.heap->Allocate(payload.size());
    home.size = 0;
    if (block.data) {
      auto* held = new BlockRoot;
      held->kind = kBlockRoot;
      held->block = block;
      holds.push_back(Pin::Share(held));
      std::memcpy(block.data, payload.data(), payload.size());
      const store::BlockRecord named{{parts_.client, block.segment, block.offset}, payload.size()};
      std::memcpy(home.payload, &named, sizeof named);
      home.size = sizeof named;
      flags |= store::kFlagBlockPayload;
    } else {
      ExtraOf(root).private_error.assign(payload.begin(), payload.end());
    }
  }
  root->result_record = 0;
  home.word.store(HomeWord{HomeKind::kValue, flags}.Pack(), std::memory_order_release);
  if (root->extra) {
    std::vector<Pin> old;
    old.swap(root->extra->holds);
    for (Pin& hold : old) DropLocked(std::move(hold));
  }
  if (!holds.empty()) ExtraOf(root).holds = std::move(holds);
  RingLocked();
  ReadyLocked(root);
}

// What is with no worker. The pool takes our wish for none, and we may wish again.
void Submitter::FailQueuedLocked(std::string_view kind, const std::string& message, std::uint32_t shape,
                                 bool widest_only) {
  if (shape >= shapes_.size()) return;
  shapes_[shape].wanted = shapes_[shape].wanted_elsewhere = 0;
  const std::uint32_t widest = shapes_[shape].Widest();
  std::vector<ObjectRoot*> queued;
  slots_.ForEachLive([&](ObjectRoot& root) {
    if (ShapeOf(root) != shape) return;
    const std::uint32_t milli = root.extra && root.extra->cpus_milli ? root.extra->cpus_milli : 1000;
    if (root.phase == Phase::kBacklog && (!widest_only || milli >= widest)) queued.push_back(&root);
  });
  for (ObjectRoot* root : queued) {
    WaitsNoMoreLocked(*root);
    root->phase = Phase::kInline;  // its places in the queues are skipped from now on
    FailLocked(root, kind, message);
  }
}

void Submitter::FailAllLocked(std::string_view kind, const std::string& message) {
  pool_lost_ = true;
  for (int i = 0; i < core_.size(); ++i)
    if (core_.At(i).open) {
      ConsumeLocked(i);
      for (Lane& lane : PairAt(i).lanes)
        std::fill(lane.slots.begin(), lane.slots.end(), kTakenBack);  // nothing to expect
    }
  std::vector<ObjectRoot*> open;
  slots_.ForEachLive([&](ObjectRoot& root) {
    if (root.phase != Phase::kReady && root.phase != Phase::kInline) open.push_back(&root);
  });
  for (ShapeQueue& queue : shapes_) {
    queue.backlog.clear();
    queue.waiting = 0;
  }
  requeue_.clear();
  backlog_size_ = 0;
  for (ObjectRoot* root : open) {
    root->phase = Phase::kInline;
    FailLocked(root, kind, message);
  }
  RingLocked();
}

// What it was lent may be all that keeps this process from acknowledging its death, or that of another one.
void Submitter::EndLoansLocked(std::uint32_t dead) {
  alone_with_.insert(dead);
  looked_at_kept_ = 0;
  std::vector<Pin> lent;
  if (const auto found = lent_by_dead_.find(dead); found != lent_by_dead_.end()) {
    lent.swap(found->second);
    lent_by_dead_.erase(found);
  }
  for (Pin& hold : lent) DropLocked(std::move(hold));
}

// What a value of a dead process may still lead to stays as long as somebody has the value.
void Submitter::EndKeptLocked(std::int64_t now) {
  constexpr std::int64_t kLookNanos = 500'000'000;
  if (alone_with_.empty() || now - looked_at_kept_ < kLookNanos) return;
  looked_at_kept_ = now;
  std::vector<ObjectRoot*> kept;
  slots_.ForEachLive([&](ObjectRoot& root) {
    if (root.phase == Phase::kReady && root.extra && root.refs.load() == 1 && alone_with_.contains(root.extra->kept_by))
      kept.push_back(&root);
  });
  for (ObjectRoot* root : kept) EndBorrowLocked(root);
}

void Submitter::PeerForgottenLocked(std::uint32_t client) {
  EndLoansLocked(client);
  alone_with_.erase(client);
  std::vector<ObjectRoot*> kept;
  slots_.ForEachLive([&](ObjectRoot& root) {
    if (root.phase == Phase::kReady && root.extra && root.extra->kept_by == client) kept.push_back(&root);
  });
  for (ObjectRoot* root : kept) EndBorrowLocked(root);
  for (auto& entry : pairs_)
    if (OutPair* pair = entry.load(); pair && pair->peer == client) pair->in_use = false;
}

void Submitter::AcknowledgeDeadLocked() {
  EndKeptLocked(alone_with_.empty() ? 0 : NowNanos());
  parts_.peers->ForEach([&](store::Peer& peer) {
    if (!peer.gone.load(std::memory_order_acquire) || peer.acknowledged.load()) return;
    if (peer.uses.load(std::memory_order_acquire) != 0) return;
    peer.acknowledged.store(true);
    wire::PeerName message{};
    message.peer = peer.client();
    parts_.socket->Send(message, wire::Kind::kGoneAck);
  });
}

}  // namespace sheaf::runtime
