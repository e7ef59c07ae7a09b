// Tokens of objects in the order in which they became ready, O(1) each. Objects of our own push themselves by a hook;
// those of other clients are looked at in turn.
#include <condition_variable>
#include <deque>
#include <list>
#include <mutex>

#include "base/clock.h"
#include "runtime/getter.h"
#include "sheaf/error.h"

namespace sheaf::detail {

class ReadyQueue {
 public:
  std::mutex mutex;
  std::deque<std::size_t> ready;
  std::list<std::pair<RefCore, std::size_t>> foreign;  // one consumer: guarded by it, not by the mutex
  std::deque<RefCore> own;                             // submitted order, for waiting on the oldest unfinished
};

std::shared_ptr<ReadyQueue> MakeReadyQueue() { return std::make_shared<ReadyQueue>(); }

void AddToQueue(const std::shared_ptr<ReadyQueue>& queue, const RefCore& ref, std::size_t token) {
  runtime::Context& context = runtime::RequireContext();
  if (!ref.pin) throw Error("an empty ObjectRef was added to Completions");
  if (ref.pin.get()->kind != runtime::kObjectRoot) {
    queue->foreign.emplace_back(ref, token);
    return;
  }
  queue->own.push_back(ref);
  context.submitter().AddHook(static_cast<runtime::ObjectRoot*>(ref.pin.get()), [queue, token] {
    std::lock_guard lock(queue->mutex);
    queue->ready.push_back(token);
  });
}

bool NextReady(ReadyQueue& queue, std::size_t* token, Duration timeout) {
  runtime::Context& context = runtime::RequireContext();
  const std::int64_t start = NowNanos();
  for (;;) {
    {
      std::lock_guard lock(queue.mutex);
      if (!queue.ready.empty()) {
        *token = queue.ready.front();
        queue.ready.pop_front();
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
    if (queue.own.empty() && queue.foreign.empty()) return false;
    Duration left = kForever;
    if (timeout != kForever) {
      left = timeout - Duration(NowNanos() - start);
      if (left.count() <= 0) return false;
    }
    // Any completion will do: wait for the oldest in short slices, which pumps all of them.
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
  if (ref.pin.get()->kind == runtime::kObjectRoot) {
    context.submitter().AddHook(static_cast<runtime::ObjectRoot*>(ref.pin.get()), std::move(f));
    return;
  }
  runtime::FetchObject(context, ref, kForever);
  f();
}

}  // namespace sheaf::detail
