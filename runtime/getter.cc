#include "runtime/getter.h"

#include <sched.h>

#include <algorithm>
#include <cstring>

#include "base/barrier.h"
#include "base/clock.h"
#include "runtime/blocked_notice.h"
#include "runtime/look.h"
#include "runtime/progress.h"
#include "sheaf/error.h"

namespace sheaf::runtime {

using store::HomeKind;
using store::HomeWord;

namespace {

constexpr std::int64_t kTaskSleepNanos = 1'000'000;  // after this long asleep a worker gives its slot back

// How long a sleep may last although nobody rings: what goes unnoticed happens soon after the wait has begun, so the looks
// become rarer. Dozens of tasks may wait at once.
std::int64_t LongestSleep(std::int64_t waited, std::int64_t first) {
  return std::clamp<std::int64_t>(waited / 8, first, 20'000'000);
}

std::int64_t DeadlineAfter(Duration timeout) {
  if (timeout == kForever) return std::numeric_limits<std::int64_t>::max();
  const std::int64_t now = NowNanos();
  return timeout.count() > std::numeric_limits<std::int64_t>::max() - now ? std::numeric_limits<std::int64_t>::max()
                                                                          : now + timeout.count();
}

[[noreturn]] void ThrowTimeout(Duration timeout) {
  throw TimeoutError("the object was not ready within " +
                     std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(timeout).count()) +
                     " ms; its task may still be queued or running");
}

bool ValueIsHome(Submitter& submitter, const ObjectRoot& root) {
  return HomeWord::Unpack(submitter.HomeOf(root).word.load(std::memory_order_acquire)).kind == HomeKind::kValue;
}

[[gnu::noinline]] void WaitOwn(Context& context, ObjectRoot* root, Duration timeout) {
  Submitter& submitter = context.submitter();
  TaskRunner* runner = context.runner();
  const bool on_executor = runner && runner->OnThisThread();
  if (on_executor && runner->RunInline(root)) return;
  BlockedNotice blocked(context, on_executor, kTaskSleepNanos);
  context.waiting_threads.fetch_add(1, std::memory_order_release);
  struct Leave {
    Context& context;
    ~Leave() { context.waiting_threads.fetch_sub(1, std::memory_order_release); }
  } leave{context};
  const std::int64_t start = NowNanos(), deadline = DeadlineAfter(timeout);
  std::int64_t spin_until = 0;
  bool woke = false, elsewhere = false;
  for (std::uint32_t turn = 0;; ++turn) {
    bool finished = false;
    {
      Look look(context);
      finished = submitter.LooksFinished(*root);
    }
    const bool pump = finished || std::exchange(woke, false) || (turn & 255) == 0;
    if (pump) {
      Submitter::Lock lock(submitter);
      submitter.PumpLocked();
      if (submitter.FinishedLocked(*root)) return;
      // A worker that is asleep and was rung takes longer to wake up than a spin is worth, and may wake up on this very CPU.
      if (spin_until == 0) {
        elsewhere = submitter.RunsElsewhereLocked(*root);
        spin_until = NowNanos() + (elsewhere ? kSpinElsewhereNanos
                                   : MaySpinLocked(context) && !submitter.WorkerSleepsLocked(*root) ? kSpinNanos
                                                                                                    : 2'000);
      }
    }
    if (on_executor && pump) {
      if (runner->RunInline(root)) return;
      if (runner->WorkWhileWaiting()) continue;
    }
    if ((turn & 31) != 0 || NowNanos() < spin_until) {
      // The halves of the relay, and perhaps the worker, want this CPU.
      elsewhere && (turn & 7) == 0 ? void(sched_yield()) : CpuRelax();
      continue;
    }
    const std::int64_t now = NowNanos();
    if (now >= deadline) ThrowTimeout(timeout);
    blocked.OnSleep(now - start);
    const std::int64_t cap = on_executor ? LongestSleep(now - start, 1'000'000) : 20'000'000;
    AwaitProgress(context, root, Until::kObject, std::min(deadline - now, cap),
                  [&] { return submitter.FinishedLocked(*root); });
    {
      Submitter::Lock lock(submitter);
      if (submitter.FinishedLocked(*root)) return;
    }
    spin_until = NowNanos() + 2'000;
    woke = true;  // what was taken back meanwhile can be run here
  }
}

// Fills the root's copy once the value is there; false while it is not. Throws ObjectLostError.
bool TryForeign(Context& context, ForeignRoot* root, Probed* probed) {
  std::lock_guard copying(root->copying);
  if (root->copied) {
    *probed = {Probed::kValue, root->flags, root->size, 0, nullptr};
    return true;
  }
  Look look(context);
  *probed = Probe(context, root->id, &root->copy);
  if (probed->state == Probed::kLost)
    throw ObjectLostError("the process that made this object ended before the object had its value");
  if (probed->state != Probed::kValue) return false;
  if (!probed->in_place) {
    root->copied = true;
    root->flags = probed->flags;
    root->size = probed->size;
  }
  return true;
}

[[gnu::noinline]] Probed WaitForeign(Context& context, ForeignRoot* root, Duration timeout) {
  Probed probed;
  if (TryForeign(context, root, &probed)) return probed;
  TaskRunner* runner = context.runner();
  const bool on_executor = runner && runner->OnThisThread();
  BlockedNotice blocked(context, on_executor, kTaskSleepNanos);
  const std::int64_t start = NowNanos(), deadline = DeadlineAfter(timeout);
  const std::int64_t spin_until = start + kSpinNanos;
  std::vector<FutexWord> words;
  for (std::uint32_t turn = 0;; ++turn) {
    if (TryForeign(context, root, &probed)) return probed;
    if (on_executor && (turn & 63) == 0 && runner->WorkWhileWaiting()) continue;
    std::int64_t now = NowNanos();
    if (now < spin_until) {
      for (int i = 0; i < 8; ++i) CpuRelax();
      continue;
    }
    if (now >= deadline) ThrowTimeout(timeout);
    if (context.pool_lost()) throw PoolLostError("the pool of this machine ended while an object was awaited");
    blocked.OnSleep(now - start);
    const std::uint64_t bound = probed.bound;
    context.BeginAwaiting(bound);
    words.clear();
    {
      Submitter::Lock lock(context.submitter());  // nothing is unmapped meanwhile
      context.submitter().PumpLocked();
      context.CollectBells(&words);
    }
    FullBarrier();
    bool ready = false;
    try {
      ready = TryForeign(context, root, &probed);
    } catch (...) {
      context.EndAwaiting();
      throw;
    }
    // The producer may not know of us (docs/dispatch.md, "Sleeping"): look again soon in any case.
    if (!ready && probed.bound == bound)
      FutexWaitAny(words, std::chrono::nanoseconds(std::min(deadline - now, LongestSleep(now - start, 2'000'000))));
    context.EndAwaiting();
    if (ready) return probed;
  }
}

}  // namespace

ObjectId IdOf(Context& context, const Root& root) {
  if (root.kind == kForeignRoot) return static_cast<const ForeignRoot&>(root).id;
  const auto& object = static_cast<const ObjectRoot&>(root);
  return {context.client, object.slot, context.submitter().HomeOf(object).generation.load(std::memory_order_relaxed)};
}

detail::Stored MakeStored(Context& context, std::uint32_t flags, const std::byte* payload, std::uint32_t size, Pin pin,
                          std::uint32_t element) {
  detail::Stored stored;
  stored.pin = std::move(pin);
  stored.element = element;
  stored.error = (flags & store::kFlagError) != 0;
  stored.payload = {payload, size};
  if (stored.error && size == 0) throw Error("a task failed, and there was no memory left to say how");
  if (flags & store::kFlagBlockPayload) {
    store::BlockRecord named{};
    if (size < sizeof named) throw Error("a stored value is shorter than its block record");
    std::memcpy(&named, payload, sizeof named);
    const std::byte* at = context.peers().Resolve(named.loc, named.size);
    if (!at && context.socket().lost())
      throw PoolLostError("the pool of this machine has ended, and this object's memory was not mapped here yet");
    if (!at) throw ObjectLostError("the memory of this object is gone with the process that made it");
    stored.payload = {at, named.size};
  }
  if ((flags & store::kFlagMarked) && !detail::SplitMarks(&stored.payload, &stored.marks))
    throw Error("a stored value is damaged");
  return stored;
}

detail::Stored FetchObject(Context& context, const RefCore& ref, Duration timeout) {
  if (!ref.pin) throw Error("Get on an empty ObjectRef; get refs from Put or Remote");
  Root* root = ref.pin.get();
  if (IsOwnObject(*root, context.life)) {
    auto* object = static_cast<ObjectRoot*>(root);
    const store::HomeSlot& home = context.submitter().HomeOf(*object);
    HomeWord word = HomeWord::Unpack(home.word.load(std::memory_order_acquire));
    if (word.kind != HomeKind::kValue) {
      WaitOwn(context, object, timeout);
      word = HomeWord::Unpack(home.word.load(std::memory_order_acquire));
    }
    if (word.flags == 0) return {{home.payload, home.size}, ref.pin, ref.element, false};  // the usual case, quickly
    if ((word.flags & store::kFlagError) && home.size == 0) {
      // An error that the store had no room for: such an Extra stays as long as its object.
      Submitter::Lock lock(context.submitter());
      if (object->extra && !object->extra->private_error.empty()) {
        const auto& error = object->extra->private_error;
        return MakeStored(context, word.flags, error.data(), static_cast<std::uint32_t>(error.size()), ref.pin,
                          ref.element);
      }
    }
    return MakeStored(context, word.flags, home.payload, home.size, ref.pin, ref.element);
  }
  RequireThisLife(*root, context.life);
  if (root->kind != kForeignRoot) throw Error("this ref names no object");
  auto* foreign = static_cast<ForeignRoot*>(root);
  const Probed probed = WaitForeign(context, foreign, timeout);
  const auto* payload = probed.in_place ? probed.in_place : reinterpret_cast<const std::byte*>(foreign->copy.data());
  return MakeStored(context, probed.flags, payload, probed.size, ref.pin, ref.element);
}

bool ObjectIsReady(Context& context, const RefCore& ref) {
  if (!ref.pin) throw Error("an empty ObjectRef is never ready");
  Root* root = ref.pin.get();
  RequireThisLife(*root, context.life);
  if (root->kind == kObjectRoot) {
    auto* object = static_cast<ObjectRoot*>(root);
    if (ValueIsHome(context.submitter(), *object)) return true;
    Submitter::Lock lock(context.submitter());
    context.submitter().PumpLocked();
    return context.submitter().FinishedLocked(*object);
  }
  return ForeignIsReady(context, static_cast<ForeignRoot*>(root));
}

bool ForeignIsReady(Context& context, ForeignRoot* root) {
  Probed probed;
  try {
    return TryForeign(context, root, &probed);
  } catch (const ObjectLostError&) {
    return true;
  }
}

}  // namespace sheaf::runtime
