// The store's budget is spent, while processes keep memory that they may want later: they are asked for it before anybody is refused.
#include <algorithm>
#include <utility>

#include "worker/pool_send.h"

namespace sheaf {

namespace {

constexpr std::int64_t kPatience = 60'000'000;  // nanoseconds

}  // namespace

// False: what is wanted is more than all of the store.
bool PoolServer::AskForMemory(std::uint64_t connection, std::uint64_t request, const MakeSegmentMessage& message) {
  if (message.bytes > core_->budget_bytes() || asked_for_memory_) return false;
  if (short_.empty()) {
    for (const auto& [id, client] : core_->clients())
      if (Connection* to = client.state == wire::ClientState::kAlive ? ConnectionOf(id) : nullptr)
        Send(*to, wire::Kind::kShort, 0, wire::Bare{});
  }
  short_.push_back({connection, request, message, now_ + kPatience});
  return true;
}

// In the order in which they asked: a small one that fits does not go before a large one that does not yet.
void PoolServer::TendShortage() {
  while (!short_.empty()) {
    const Shortage first = short_.front();
    if (first.until > now_ && first.message.bytes > core_->budget_bytes() - core_->used_bytes()) return;
    short_.erase(short_.begin());
    Connection* connection = FindConnection(first.connection);
    if (connection && !connection->closed && connection->client) {
      asked_for_memory_ = true;
      MakeSegment(*connection, first.request, first.message);
      asked_for_memory_ = false;
    }
  }
}

}  // namespace sheaf
