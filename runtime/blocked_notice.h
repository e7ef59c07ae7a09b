// While a task waits: its worker's slot is free for others, of which the pool is told, once the wait is long.
#pragma once

#include <cstdint>

#include "runtime/context.h"

namespace sheaf::runtime {

class BlockedNotice {
 public:
  // Nothing happens off the executor's thread. `patience`: after this long the pool may start another worker.
  BlockedNotice(Context& context, bool on_executor, std::int64_t patience)
      : context_(context), on_executor_(on_executor), patience_(patience) {
    if (on_executor_) context_.control()->blocked.fetch_add(1, std::memory_order_release);
  }
  ~BlockedNotice() {
    if (on_executor_) context_.control()->blocked.fetch_sub(1, std::memory_order_release);
    if (told_) Tell(0);
  }
  BlockedNotice(const BlockedNotice&) = delete;
  BlockedNotice& operator=(const BlockedNotice&) = delete;
  void OnSleep(std::int64_t waited) {
    if (!on_executor_ || told_ || waited < patience_) return;
    told_ = true;
    Tell(1);
  }

 private:
  void Tell(std::uint32_t blocked) {
    wire::Blocked message{};
    message.blocked = blocked;
    context_.socket().Send(message, wire::Kind::kBlocked);
  }
  Context& context_;
  const bool on_executor_;
  const std::int64_t patience_;
  bool told_ = false;
};

}  // namespace sheaf::runtime
