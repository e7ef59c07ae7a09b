#include "worker/client_link.h"

#include <fcntl.h>

namespace sheaf {

bool ClientLink::Send(std::span<const std::byte> bytes, std::span<const int> fds, std::int64_t now) {
  if (hung_up_) return true;
  if (queue_.empty()) {
    switch (SendPacket(socket_.get(), bytes, fds, false)) {
      case PacketResult::kOk:
        return true;
      case PacketResult::kAgain:
        progress_ = now;
        break;
      case PacketResult::kClosed:
        HangUp(now);
        return true;
      default:
        return false;
    }
  }
  overflowed_ = queue_.size() >= kQueueMax || queued_bytes_ + bytes.size() > kQueueBytesMax;
  if (overflowed_) return false;
  Waiting waiting{{bytes.begin(), bytes.end()}, {}};
  for (const int fd : fds) {
    waiting.fds.emplace_back(fcntl(fd, F_DUPFD_CLOEXEC, 3));
    if (!waiting.fds.back()) return false;
  }
  queued_bytes_ += bytes.size();
  queue_.push_back(std::move(waiting));
  return true;
}

bool ClientLink::Flush(std::int64_t now) {
  while (!queue_.empty()) {
    const Waiting& first = queue_.front();
    std::vector<int> fds;
    for (const Fd& fd : first.fds) fds.push_back(fd.get());
    switch (SendPacket(socket_.get(), first.bytes, fds, false)) {
      case PacketResult::kOk:
        break;
      case PacketResult::kAgain:
        return true;
      case PacketResult::kClosed:
        HangUp(now);
        return true;
      default:
        return false;
    }
    progress_ = now;
    queued_bytes_ -= first.bytes.size();
    queue_.pop_front();
  }
  return true;
}

void ClientLink::HangUp(std::int64_t now) {
  hung_up_ = true;
  progress_ = now;
  queue_.clear();
  queued_bytes_ = 0;
}

}  // namespace sheaf
