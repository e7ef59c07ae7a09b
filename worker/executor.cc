#include "worker/executor.h"

#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>

#include <cstdio>
#include <cstring>

#include "base/barrier.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/prefetch.h"
#include "runtime/typed/registry.h"

namespace sheaf::worker {

using detail::Pin;
using runtime::IncomingRoot;

namespace {

constexpr std::int64_t kIdleSpinNanos = 40'000;
constexpr std::int64_t kForwardSpinNanos = 150'000;  // a round trip to another machine
// While another worker makes the input that is missing. Longer than a wake-up takes: two workers that wait for each other
// in turns would otherwise both sleep once in every turn, and never come into step again.
constexpr std::int64_t kStarvedSpinNanos = 200'000;
constexpr std::int64_t kBringHomeNanos = 60'000'000'000;
constexpr std::int64_t kStepAsideNanos = 1'000'000;  // how often a look for a CPU of one's own is worth its price

std::uintptr_t LowestStackAddress() {
  pthread_attr_t attributes;
  void* low = nullptr;
  std::size_t size = 0;
  if (pthread_getattr_np(pthread_self(), &attributes) != 0) return 0;
  pthread_attr_getstack(&attributes, &low, &size);
  pthread_attr_destroy(&attributes);
  return reinterpret_cast<std::uintptr_t>(low);
}

}  // namespace

Executor::Executor(runtime::Context& context, bool forwards)
    : context_(context), forwards_(forwards), thread_(std::this_thread::get_id()), stack_low_(LowestStackAddress()) {
  context_.submitter().on_incoming_free = [this](IncomingRoot* incoming) { FreeIncoming(incoming); };
  context_.SetRunner(this);
}

bool Executor::StackLeft() const {
  const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  return here - stack_low_ > limits::kRecursionStackReserve;
}

// ---- what the helper thread brings ------------------------------------------------------------------------------

void Executor::OpenIn(const wire::OpenPair& message, store::Peer* peer) {
  if (message.own_region >= context_.control()->in_regions || message.own_region >= limits::kPairsMax) return;
  const std::uint64_t offset = store::OutOffset() + message.peer_region * sizeof(store::OutRegion);
  if (message.peer_region >= limits::kPairsMax || offset + sizeof(store::OutRegion) > peer->Bytes(0)) return;
  auto* pair = new InPair;  // lives until the process ends: at most kPairsMax at a time, and 200 bytes each
  pair->peer = message.peer;
  pair->mapped = peer;
  pair->region = message.own_region;
  pair->nonce = message.nonce;
  pair->out = reinterpret_cast<const store::OutRegion*>(reinterpret_cast<const std::byte*>(peer->control()) + offset);
  pair->in = reinterpret_cast<store::InRegion*>(reinterpret_cast<std::byte*>(context_.control()) +
                                                context_.control()->in_offset) +
             message.own_region;
  store::InRegion& in = *pair->in;
  for (auto& done : in.done) done.tag.store(0, std::memory_order_relaxed);
  for (auto& done : in.urgent_done) done.tag.store(0, std::memory_order_relaxed);
  for (auto& claimed : in.claimed) claimed.store(0, std::memory_order_relaxed);
  in.recall_ack.store(0, std::memory_order_relaxed);
  in.release_read.store(0, std::memory_order_relaxed);
  in.kept_released.store(0, std::memory_order_relaxed);
  in.ended.store(0, std::memory_order_relaxed);
  in.submitter.store(message.peer, std::memory_order_relaxed);
  in.nonce.store(message.nonce, std::memory_order_release);
  peer->uses.fetch_add(1, std::memory_order_relaxed);
  pairs_[message.own_region].store(pair, std::memory_order_release);
  if (pairs_end_.load(std::memory_order_relaxed) <= message.own_region)
    pairs_end_.store(message.own_region + 1, std::memory_order_release);
  runtime::Submitter::Lock lock(context_.submitter());
  context_.submitter().RingLocked();
}

void Executor::OnStartCall(const wire::StartCall& call, std::string arguments) {
  std::lock_guard lock(idle_mutex_);
  start_calls_.emplace_back(call, std::move(arguments));
  has_start_calls_.store(true, std::memory_order_release);
}

void Executor::PeerGone(std::uint32_t client) {
  for (auto& entry : pairs_) {
    InPair* pair = entry.load(std::memory_order_acquire);
    if (pair && pair->peer == client) pair->gone.store(true, std::memory_order_release);
  }
  runtime::Submitter::Lock lock(context_.submitter());
  context_.submitter().RingLocked();  // the executor ends the pair
}

void Executor::PeerForgotten(std::uint32_t client) {
  runtime::Submitter::Lock lock(context_.submitter());
  for (std::uint32_t i = 0; i < records_.size(); ++i) {
    if (records_[i].submitter != client) continue;
    std::vector<Pin> holds;
    holds.swap(records_[i].holds);
    records_[i].submitter = 0;
    free_records_.push_back(i + 1);
    for (Pin& hold : holds) context_.submitter().DropLocked(std::move(hold));
  }
}

void Executor::Drain(bool job_over) {
  if (job_over) job_over_.store(true, std::memory_order_release);
  draining_.store(true, std::memory_order_release);
  runtime::Submitter::Lock lock(context_.submitter());
  context_.submitter().RingLocked();
}

void Executor::RunWhenIdle(std::function<void()> f) {
  std::lock_guard lock(idle_mutex_);
  idle_work_.push_back(std::move(f));
  has_idle_work_.store(true, std::memory_order_release);
}

void Executor::RunIdleWork() {
  std::vector<std::function<void()>> work;
  {
    std::lock_guard lock(idle_mutex_);
    work.swap(idle_work_);
    has_idle_work_.store(false, std::memory_order_release);
  }
  runtime::Submitter::Lock lock(context_.submitter());
  if (context_.lookers.load(std::memory_order_seq_cst) == 0) {
    for (auto& f : work) f();
    return;
  }
  // Another thread is inside a look at what would be unmapped.
  std::lock_guard again(idle_mutex_);
  idle_work_.insert(idle_work_.begin(), std::make_move_iterator(work.begin()), std::make_move_iterator(work.end()));
  has_idle_work_.store(true, std::memory_order_release);
}

void Executor::RunStartCalls() {
  std::vector<std::pair<wire::StartCall, std::string>> calls;
  {
    std::lock_guard lock(idle_mutex_);
    calls.swap(start_calls_);
    has_start_calls_.store(false, std::memory_order_release);
  }
  for (auto& [call, bytes] : calls) {
    std::vector<std::byte> aligned(bytes.size());
    std::memcpy(aligned.data(), bytes.data(), bytes.size());
    detail::Stored stored;
    stored.payload = {aligned.data(), aligned.size()};
    if (call.marked && !detail::SplitMarks(&stored.payload, &stored.marks)) continue;
    if (forwards_) {
      ForwardStart(call, stored);
      continue;
    }
    IncomingRoot* incoming = TakeIncoming();
    try {
      detail::Encoder result;
      detail::Arguments arguments{detail::Decoder(stored.payload, Pin::Share(incoming)), {}};
      detail::RequireFunction(call.function, call.digest).run(arguments, result);
    } catch (const std::exception& error) {
      std::fprintf(stderr, "sheaf: OnWorkerStart failed: %s\n", error.what());
      std::_Exit(70);
    }
  }
}

// ---- the loop ---------------------------------------------------------------------------------------------------

int Executor::Run() {
  std::int64_t idle_since = 0, last_step = 0;  // idle_since 0: not idle
  const auto step_aside = [&](std::int64_t now) {
    if (now - last_step < kStepAsideNanos) return;
    last_step = now;
    StepAside();
  };
  for (;;) {
    if (has_start_calls_.load(std::memory_order_acquire)) RunStartCalls();
    std::uint32_t ran = forwards_ ? Arrived() : 0;
    const bool draining = draining_.load(std::memory_order_acquire);
    if (draining && MayEnd() && MayLeave()) return 0;
    missing_input_ = 0;
    const std::uint32_t end = pairs_end_.load(std::memory_order_acquire);
    for (std::uint32_t i = 0; i < end; ++i) {
      InPair* pair = pairs_[i].load(std::memory_order_acquire);
      // Leaving may take long: whose submitter is dead is let go of meanwhile, or its memory would stay.
      if (pair && !pair->ended && (!draining || pair->gone.load(std::memory_order_acquire))) ran += LookAt(*pair);
    }
    if (draining) {
      WorkWhileWaiting();
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
    if (has_idle_work_.load(std::memory_order_acquire)) RunIdleWork();
    if (ran == 0 && RunOwn()) ran = 1;
    if (ran > 0) {
      idle_since = 0;
      if (ran >= 8) step_aside(NowNanos());
      continue;
    }
    const std::int64_t now = NowNanos();
    if (idle_since == 0) idle_since = now;
    step_aside(now);
    const std::int64_t idle = now - idle_since;
    if (idle < (forwards_ ? kForwardSpinNanos : kIdleSpinNanos)) {
      if (idle > 1'000) sched_yield();
      for (int i = 0; i < 4; ++i) CpuRelax();
      continue;
    }
    if (missing_input_ != 0 && idle < kStarvedSpinNanos) {
      sched_yield();
      continue;
    }
    Rest();
    Sleep();
    idle_since = NowNanos() - (forwards_ ? kForwardSpinNanos : kIdleSpinNanos) + 5'000;
  }
}

// Asked to exit, it takes nothing new, but stays while its own tasks are under way: others may hold refs to them. The
// pool's patience is the deadline.
bool Executor::MayLeave() {
  runtime::Submitter::Lock lock(context_.submitter());
  if (context_.pool_lost()) return true;
  if (context_.submitter().outstanding() == 0) {
    // What lies on other machines can be made again by this process alone: it comes first, if it does.
    if (job_over_.load(std::memory_order_acquire) || !context_.submitter().BringHomeLocked()) return true;
    if (leaving_since_ == 0) leaving_since_ = NowNanos();
    if (NowNanos() - leaving_since_ > kBringHomeNanos) return true;
  }
  if (!std::exchange(said_blocked_, true)) {
    context_.control()->blocked.fetch_add(1, std::memory_order_release);
    // It occupies no CPU any more: what its tasks wait for may need that.
    wire::Blocked message{};
    message.blocked = 1;
    context_.socket().Send(message, wire::Kind::kBlocked);
  }
  context_.submitter().PumpLocked();
  return false;
}

// Nobody else's work is ready. What this worker's tasks have submitted and nobody has taken, it runs itself: with one worker
// nobody else could.
bool Executor::RunOwn() {
  runtime::ObjectRoot* root = nullptr;
  {
    runtime::Submitter::Lock lock(context_.submitter());
    if (context_.submitter().has_backlog()) root = context_.submitter().RunnableLocked();
  }
  return root && RunInline(root);
}

// Whether the submitter has reset its half, so that it may be read.
bool Executor::Matched(InPair& pair) {
  if (!pair.matched) pair.matched = pair.out->nonce.load(std::memory_order_acquire) == pair.nonce;
  return pair.matched;
}

std::uint32_t Executor::LookAt(InPair& pair) {
  if (!pair.matched) {
    if (pair.gone.load(std::memory_order_acquire)) {
      EndPair(pair);
      return 0;
    }
    if (!Matched(pair)) return 0;
  }
  if (pair.gone.load(std::memory_order_acquire)) {
    if (pair.away.load(std::memory_order_acquire) == 0) EndPair(pair);
    return 0;
  }
  if (pair.out->released.load(std::memory_order_acquire) != pair.in->release_read.load(std::memory_order_relaxed) ||
      pair.kept_waits.load(std::memory_order_relaxed)) {
    runtime::Submitter::Lock lock(context_.submitter());
    DrainReleasesLocked(pair);
  }
  std::uint32_t ran = 0;
  // Asked to leave, it begins nothing more: what lies here is for others, and its own CPU perhaps for another job.
  while (ran < 32 && !draining_.load(std::memory_order_relaxed)) {
    if (TryLane(pair, 1) || TryLane(pair, 0)) {
      ++ran;
      continue;
    }
    break;
  }
  return ran;
}

void Executor::EndPair(InPair& pair) {
  pair.ended = true;
  pair.in->ended.store(pair.nonce, std::memory_order_release);
  pair.mapped->uses.fetch_sub(1, std::memory_order_relaxed);
  context_.RingAwaiting();
}

bool Executor::TryLane(InPair& pair, int lane) {
  if (lane == 0 && Ring::RecallIsOpen(*pair.out, pair.cursor))
    Ring::AcknowledgeRecall(*pair.out, *pair.in, &pair.cursor);
  std::uint32_t& next = lane == 0 ? pair.cursor.next : pair.urgent_next;
  const std::uint32_t position = next;
  const std::uint32_t depth = store::LaneDepth(lane);
  const auto* ring = store::Entries(*pair.out, lane);
  std::uint32_t slot_index = 0;
  if (!Ring::Peek(ring, depth, position, &slot_index)) return false;
  const store::Slot* slot = pair.mapped->FindSlot(slot_index);
  if (!slot) slot = context_.peers().ResolveSlot(pair.peer, slot_index);
  if (!slot) {
    if (context_.IsDead(pair.peer) || context_.pool_lost() || context_.socket().lost()) return false;
    Outcome outcome;  // an entry that names no slot: the submitter's memory is broken; answer, don't stall
    detail::Encoder error;
    detail::EncodeRuntimeError("Error", "the task's record could not be read by the worker", {"?", 1}, error);
    outcome.flags = store::kFlagError;
    StoreOutcome(error, &outcome);
    if (lane == 0) {
      if (!Ring::Claim(*pair.out, *pair.in, &pair.cursor)) return true;
    } else {
      Ring::AnnounceClaim(*pair.in, lane, position);
      ++next;
    }
    Publish(pair, lane, position, outcome);
    return true;
  }
  PrefetchForWriting(&store::CompletionAt(*pair.in, lane, position + 1));
  // The record of the one after the next comes into the cache while this one runs.
  if (std::uint32_t ahead = 0; Ring::Peek(ring, depth, position + 2, &ahead)) {
    if (const store::Slot* later = pair.mapped->FindSlot(ahead)) {
      PrefetchForReading(&later->task);
      PrefetchForReading(reinterpret_cast<const std::byte*>(&later->task) + 64);
    }
  }
  // What an entry names stays as it is until we have claimed it or acknowledged its recall.
  if (forwards_) return Forward({&pair, lane, position, slot_index, slot});
  const store::TaskRecord& record = slot->task;
  IncomingRoot* incoming = TakeIncoming();
  incoming->submitter = pair.peer;
  incoming->region = pair.region;
  incoming->slot = slot_index;
  std::vector<detail::Stored> dependencies;
  if (record.dependencies > 0) {
    if (depth_ == 0) dependencies.swap(gathered_);
    dependencies.clear();
    const Entry entry{lane == 0 ? &pair : nullptr, position};
    if (!Gather(entry, record, incoming, &dependencies)) {
      dependencies.clear();
      if (depth_ == 0) dependencies.swap(gathered_);
      incoming->copies.clear();
      spare_incoming_.push_back(incoming);
      return false;
    }
  }
  if (!ClaimNext({&pair, lane, position, slot_index, slot})) {
    dependencies.clear();
    incoming->copies.clear();
    spare_incoming_.push_back(incoming);
    return true;
  }
  static_cast<void>(SHEAF_FAILPOINT("executor.claimed"));
  Outcome outcome;
  const std::uint32_t took = ExecuteTimed(record, incoming, dependencies, &outcome);
  outcome.flags |= took << store::kTookShift;
  dependencies.clear();
  if (depth_ == 0 && dependencies.capacity() > 0) dependencies.swap(gathered_);
  static_cast<void>(SHEAF_FAILPOINT("executor.before_publish"));
  Seal(pair, lane, position, incoming, outcome);
  return true;
}

bool Executor::ClaimNext(const Task& task) {
  if (task.lane == 0) return Ring::Claim(*task.pair->out, *task.pair->in, &task.pair->cursor);
  Ring::AnnounceClaim(*task.pair->in, task.lane, task.position);
  ++task.pair->urgent_next;
  return true;
}

void Executor::Seal(InPair& pair, int lane, std::uint32_t position, IncomingRoot* incoming, Outcome& outcome) {
  const bool kept = incoming->refs.load(std::memory_order_acquire) != 1;
  if (kept) {
    incoming->kept = true;
    outcome.flags |= store::kFlagKept;
    pair.mapped->uses.fetch_add(1, std::memory_order_relaxed);
  }
  Publish(pair, lane, position, outcome);
  static_cast<void>(SHEAF_FAILPOINT("executor.published"));
  if (kept) {
    Pin last = Pin::Adopt(incoming);  // from here on it goes with whoever still uses the arguments
  } else {
    incoming->copies.clear();
    spare_incoming_.push_back(incoming);
  }
}

}  // namespace sheaf::worker
