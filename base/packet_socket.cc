#include "base/packet_socket.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace sheaf {

PacketResult SendPacket(int socket, std::span<const std::byte> bytes, std::span<const int> fds, bool wait) {
  if (fds.size() > kPacketFdsMax) return PacketResult::kInvalid;
  iovec piece{const_cast<std::byte*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(kPacketFdsMax * sizeof(int))] = {};
  if (!fds.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
    cmsghdr* head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(head), fds.data(), fds.size() * sizeof(int));
  }
  while (true) {
    const ssize_t sent = sendmsg(socket, &message, MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT));
    if (sent == static_cast<ssize_t>(bytes.size())) return PacketResult::kOk;
    if (sent >= 0) return PacketResult::kInvalid;
    if (errno == EINTR) continue;
    // ETOOMANYREFS: too many descriptors of this user are in flight; like a full buffer it passes.
    if (errno == EAGAIN || errno == ENOBUFS || errno == ETOOMANYREFS) return PacketResult::kAgain;
    if (errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN) return PacketResult::kClosed;
    return PacketResult::kInvalid;
  }
}

PacketResult ReceivePacket(int socket, std::size_t limit, bool wait, Packet* packet) {
  packet->bytes.resize(limit);
  packet->fds.clear();
  iovec piece{packet->bytes.data(), limit};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(kPacketFdsMax * sizeof(int))];
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t got;
  bool reset = false;
  do {
    got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT));
    // Said once, before anything else, if the other end went without having read all: what it sent is still here.
  } while (got < 0 && (errno == EINTR || (errno == ECONNRESET && !std::exchange(reset, true))));
  if (got < 0) {
    packet->bytes.clear();
    if (errno == EAGAIN) return PacketResult::kAgain;
    return errno == ECONNRESET || errno == ENOTCONN ? PacketResult::kClosed : PacketResult::kInvalid;
  }
  for (cmsghdr* head = CMSG_FIRSTHDR(&message); head; head = CMSG_NXTHDR(&message, head)) {
    if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(head) + i * sizeof(int), sizeof fd);
      packet->fds.emplace_back(fd);
    }
  }
  packet->bytes.resize(static_cast<std::size_t>(got));
  if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
    packet->fds.clear();
    return PacketResult::kInvalid;
  }
  // An empty packet and an end of file look the same here; nobody sends empty packets.
  return got == 0 ? PacketResult::kClosed : PacketResult::kOk;
}

}  // namespace sheaf
