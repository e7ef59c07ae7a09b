// Nothing is ready: a last look that publishers know of, then sleep. docs/dispatch.md, "Sleeping".
#include <sched.h>
#include <stdio_ext.h>

#include <chrono>
#include <cstdio>

#include "base/barrier.h"
#include "base/futex.h"
#include "worker/executor.h"

namespace sheaf::worker {

using runtime::IncomingRoot;

bool Executor::HasWork(bool* starved) {
  if (draining_.load(std::memory_order_acquire) || has_start_calls_.load(std::memory_order_acquire) ||
      has_idle_work_.load(std::memory_order_acquire))
    return true;
  {
    runtime::Submitter::Lock lock(context_.submitter());
    if (context_.submitter().has_backlog()) {
      if (context_.submitter().RunnableLocked()) return true;
      *starved = true;
    }
  }
  awaited_ = 0;
  std::uint32_t missing = *starved || AwaitsObjects() ? 1 : 0;  // what our own tasks wait for may be anything
  const std::uint32_t end = pairs_end_.load(std::memory_order_acquire);
  for (std::uint32_t i = 0; i < end; ++i) {
    InPair* pair = pairs_[i].load(std::memory_order_acquire);
    if (!pair || pair->ended) continue;
    if (pair->gone.load(std::memory_order_acquire)) {
      if (pair->away.load(std::memory_order_acquire) == 0) return true;
      continue;
    }
    if (!pair->matched) {
      if (pair->out->nonce.load(std::memory_order_acquire) == pair->nonce) return true;
      continue;
    }
    if (Ring::RecallIsOpen(*pair->out, pair->cursor)) return true;
    for (int lane : {1, 0}) {
      const std::uint32_t position = lane == 0 ? pair->cursor.next : pair->urgent_next;
      const std::uint32_t depth = store::LaneDepth(lane);
      const auto* ring = store::Entries(*pair->out, lane);
      std::uint32_t slot_index = 0;
      if (!Ring::Peek(ring, depth, position, &slot_index)) continue;
      const store::Slot* slot = pair->mapped->FindSlot(slot_index);
      if (!slot) return true;
      if (forwards_) {
        missing_input_ = 0;
        if (CanForward({pair, lane, position, slot_index, slot})) return true;
        *starved = true;
        ++missing;
        continue;
      }
      if (slot->task.dependencies == 0) return true;
      IncomingRoot* incoming = TakeIncoming();
      std::vector<detail::Stored> dependencies;
      const bool ready = Gather({}, slot->task, incoming, &dependencies);
      dependencies.clear();
      incoming->copies.clear();
      spare_incoming_.push_back(incoming);
      if (ready) return true;
      *starved = true;
      awaited_ = missing++ == 0 ? missing_input_ : 0;
    }
  }
  return false;
}

// Whoever rings pulls the sleeper to its own CPU, since the kernel takes the two for a pipe that runs in turns. Workers that
// share a CPU while another is idle stay there for some hundredths of a second, so the younger one leaves.
void Executor::StepAside() {
  const int cpu = sched_getcpu();
  cpu_set_t all;
  if (cpu < 0) return;
  const auto own = static_cast<std::uint32_t>(cpu) + 1;
  context_.control()->cpu.store(own, std::memory_order_relaxed);
  bool shared = false;
  cpu_set_t taken;
  CPU_ZERO(&taken);
  CPU_SET(static_cast<unsigned>(cpu), &taken);
  context_.peers().ForEach([&](store::Peer& peer) {
    const auto* control = peer.control();
    if (!control || peer.client() == context_.client || peer.gone.load(std::memory_order_relaxed)) return;
    const std::uint32_t its = control->cpu.load(std::memory_order_relaxed);
    if (its == 0 || its > CPU_SETSIZE || control->asleep.load(std::memory_order_relaxed) != 0) return;
    CPU_SET(its - 1, &taken);
    shared |= its == own && store::IndexOf(peer.client()) < store::IndexOf(context_.client);
  });
  if (!shared || sched_getaffinity(0, sizeof all, &all) != 0) return;
  cpu_set_t others;
  CPU_XOR(&others, &all, &taken);
  CPU_AND(&others, &others, &all);
  if (CPU_COUNT(&others) == 0) return;
  if (sched_setaffinity(0, sizeof others, &others) == 0) sched_setaffinity(0, sizeof all, &all);
  context_.control()->cpu.store(static_cast<std::uint32_t>(sched_getcpu()) + 1, std::memory_order_relaxed);
}

namespace {

// A line that a task has begun and not ended would stay in this process until the next one ends it, or for good if it is killed.
void FlushBegunLine() {
  if (ftrylockfile(stdout) != 0)
    return;  // somebody prints, and may be made to wait: what it leaves is seen the next time
  if (__fpending(stdout) > 0) fflush_unlocked(stdout);
  funlockfile(stdout);
}

}  // namespace

void Executor::Sleep() {
  FlushBegunLine();
  std::vector<FutexWord> words;
  {
    runtime::Submitter::Lock lock(context_.submitter());
    context_.CollectBells(&words);
    ++context_.submitter().local_sleepers;  // a result of our own may make a queued task of ours ready
  }
  store::ControlHeader& control = *context_.control();
  sleep_value_ += 2;
  control.asleep.store(sleep_value_, std::memory_order_release);
  const std::uint64_t awaited = awaited_;
  context_.BeginAwaiting(awaited);
  FullBarrier();
  bool starved = false;
  // If it is now another input that is missing, the publishers know the wrong one: look again.
  if (!HasWork(&starved) && awaited_ == awaited) {
    control.starved.store(starved, std::memory_order_relaxed);
    FutexWaitAny(words, starved ? std::chrono::milliseconds(2) : std::chrono::milliseconds(100));
  }
  context_.EndAwaiting();
  StepAside();
  control.asleep.store(0, std::memory_order_release);
  control.starved.store(0, std::memory_order_relaxed);
  runtime::Submitter::Lock lock(context_.submitter());
  --context_.submitter().local_sleepers;
}

}  // namespace sheaf::worker
