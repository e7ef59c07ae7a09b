// Packets with file descriptors beside them, over SOCK_SEQPACKET unix sockets.
//
// A packet that is longer than the limit or carries more descriptors than expected is an error of the sender:
// everything it brought is closed again, nothing leaks into the receiver.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "base/fd.h"

namespace sheaf {

inline constexpr std::size_t kPacketFdsMax = 4;

enum class PacketResult {
  kOk,
  kAgain,    // nothing to read, or no room to send: try when the socket is ready again
  kClosed,   // the other end is gone
  kInvalid,  // a packet over the limits, or an error that makes the socket useless
};

struct Packet {
  std::vector<std::byte> bytes;
  std::vector<Fd> fds;
};

// Sends one packet. With `wait`, blocks while there is no room; else kAgain. Never raises SIGPIPE.
PacketResult SendPacket(int socket, std::span<const std::byte> bytes, std::span<const int> fds, bool wait);

// Receives one packet of at most `limit` bytes; its descriptors are close-on-exec.
PacketResult ReceivePacket(int socket, std::size_t limit, bool wait, Packet* packet);

}  // namespace sheaf
