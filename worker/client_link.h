// The pool's end of one connection: sends never block, what does not fit waits in a bounded private queue.
//
// Lives on the pool's thread. A peer that lets the queue overflow or does not read for kStallMax is to be cut off. One that
// is gone is no error for who sends: what it said last may still lie in the socket, and whoever reads that finds the end.
#pragma once

#include <cstdint>
#include <deque>
#include <initializer_list>
#include <span>
#include <vector>

#include "base/fd.h"
#include "base/packet_socket.h"

namespace sheaf {

class ClientLink {
 public:
  static constexpr std::int64_t kStallMax = 10'000'000'000;  // nanoseconds
  static constexpr std::size_t kQueueMax = 4096;             // packets
  static constexpr std::size_t kQueueBytesMax = 4 << 20;

  explicit ClientLink(Fd socket) : socket_(std::move(socket)) {}

  // False: the link is useless now (over its bounds, or what was sent makes no packet).
  bool Send(std::span<const std::byte> bytes, std::span<const int> fds, std::int64_t now);
  bool Flush(std::int64_t now);  // when the socket has room again

  int fd() const { return socket_.get(); }
  bool overflowed() const { return overflowed_; }  // it was the bounds: the peer does not read
  bool pending() const { return !queue_.empty(); }
  // When the peer will have been silent for too long; INT64_MAX with nothing pending.
  std::int64_t stall_deadline() const { return queue_.empty() && !hung_up_ ? INT64_MAX : progress_ + kStallMax; }

 private:
  void HangUp(std::int64_t now);
  struct Waiting {
    std::vector<std::byte> bytes;
    std::vector<Fd> fds;
  };
  Fd socket_;
  std::deque<Waiting> queue_;
  std::size_t queued_bytes_ = 0;
  bool overflowed_ = false;
  bool hung_up_ = false;       // nobody reads at the other end any more
  std::int64_t progress_ = 0;  // when a packet last left, or the queue began
};

}  // namespace sheaf
