// Tokens of objects in the order in which they became ready, O(1) each. Objects of our own push themselves by a hook;
// those of other clients are looked at in turn.
#include <condition_variable>
#include <deque>
#include <list>
#include <mutex>
#include <thread>

#include "base/barrier.h"
#include "base/clock.h"
#include "runtime/getter.h"
#include "runtime/progress.h"
#include "sheaf/error.h"

namespace sheaf::detail {

class ReadyQueue {
 public:
  std::mutex mutex;
  std::deque<std::size_t> ready;
  std::list<std::pair<RefCore, std::size_t>> foreign;  // one consumer: guarded by it, not by the mutex
  std::uint16_t life = 0;                              // of the own objects: which Init of the process
  std::size_t hooked = 0, taken = 0;                   // own objects added, and their tokens handed out; one consumer
  std::deque<RefCore> own;                             // submitted order, for waiting on the oldest unfinished
};

std::shared_ptr<ReadyQueue> MakeReadyQueue() { return std::make_shared<ReadyQueue>(); }

void AddToQueue(const std::shared_ptr<ReadyQueue>& queue, const RefCore& ref, std::size_t token) {
  runtime::Context& context = runtime::RequireContext();
  if (!ref.pin) throw Error("an empty ObjectRef was added to Completions");
  runtime::RequireThisLife(*ref.pin.get(), context.life);
  if (ref.pin.get()->kind != runtime::kObjectRoot) {
    queue->foreign.emplace_back(ref, token);
    return;
  }
  queue->own.push_back(ref);
  queue->life = context.life;
  ++queue->hooked;
  context.submitter().AddHook(static_cast<runtime::ObjectRoot*>(ref.pin.get()), {[queue, token] {
                                std::lock_guard lock(queue->mutex);
                                queue->ready.push_back(token);
                              }});
}

namespace {

// Looks for as long as a wake-up would take, then sleeps until the next result of any worker.
void AwaitNext(runtime::Context& context, ReadyQueue& queue, Duration left) {
  constexpr std::int64_t kSleepMax = 20'000'000;
  const auto any_ready = [&] {
    std::lock_guard lock(queue.mutex);
    return !queue.ready.empty();
  };
  runtime::Submitter& submitter = context.submitter();
  std::int64_t spin_until = 0;
  std::uint64_t outstanding = 0;
  do {
    {
      runtime::Submitter::Lock lock(submitter);
      submitter.PumpLocked();
      outstanding = submitter.outstanding();
      if (spin_until == 0) spin_until = NowNanos() + (runtime::MaySpinLocked(context) ? runtime::kSpinNanos : 2'000);
    }
    if (any_ready()) return;
    for (int i = 0; i < 64; ++i) CpuRelax();
  } while (NowNanos() < spin_until);
  context.waiting_threads.fetch_add(1, std::memory_order_release);
  // Hooks run when the lock is let go: whether one is due shows only in the count of what is under way.
  runtime::AwaitProgress(context, nullptr, runtime::Until::kNext, std::min<std::int64_t>(left.count(), kSleepMax),
                         [&] { return submitter.outstanding() != outstanding || any_ready(); });
  context.waiting_threads.fetch_sub(1, std::memory_order_release);
}

}  // namespace

bool NextReady(ReadyQueue& queue, std::size_t* token, Duration timeout) {
  runtime::Context& context = runtime::RequireContext();
  // Also of those whose tokens came while their pool ended.
  if (queue.taken < queue.hooked) runtime::RequireThisLife(queue.life, context.life);
  const std::int64_t start = NowNanos();
  for (;;) {
    {
      std::lock_guard lock(queue.mutex);
      if (!queue.ready.empty()) {
        *token = queue.ready.front();
        queue.ready.pop_front();
        ++queue.taken;
        return true;
      }
    }
    for (auto it = queue.foreign.begin(); it != queue.foreign.end(); ++it) {
      if (!runtime::ObjectIsReady(context, it->first)) continue;
      *token = it->second;
      queue.foreign.erase(it);
      return true;
    }
    while (!queue.own.empty() && runtime::ObjectIsReady(context, queue.own.front())) queue.own.pop_front();
    {
      std::lock_guard lock(queue.mutex);
      if (!queue.ready.empty()) continue;
    }
    if (queue.own.empty() && queue.foreign.empty()) {
      if (queue.taken == queue.hooked) return false;
      std::this_thread::yield();  // ready, and the thread that found it so has yet to run its hook
      continue;
    }
    Duration left = kForever;
    if (timeout != kForever) {
      left = timeout - Duration(NowNanos() - start);
      if (left.count() <= 0) return false;
    }
    runtime::TaskRunner* runner = context.runner();
    if (queue.foreign.empty() && !(runner && runner->OnThisThread())) {
      AwaitNext(context, queue, left);
      continue;
    }
    // Inside a task, or for objects of others: wait for the oldest in short slices, which pumps all of them.
    const Duration slice = std::min<Duration>(left, std::chrono::microseconds(queue.own.size() > 1 ? 200 : 2000));
    const RefCore& oldest = queue.own.empty() ? queue.foreign.front().first : queue.own.front();
    try {
      runtime::FetchObject(context, oldest, slice);
    } catch (const TimeoutError&) {
    } catch (const ObjectLostError&) {
    }
  }
}

void CallWhenReady(const RefCore& ref, std::function<void()> f) {
  runtime::Context& context = runtime::RequireContext();
  if (!ref.pin) throw Error("OnReady on an empty ObjectRef");
  runtime::RequireThisLife(*ref.pin.get(), context.life);
  if (ref.pin.get()->kind == runtime::kObjectRoot) {
    context.submitter().AddHook(static_cast<runtime::ObjectRoot*>(ref.pin.get()), {std::move(f), true});
    return;
  }
  runtime::FetchObject(context, ref, kForever);
  f();
}

}  // namespace sheaf::detail
