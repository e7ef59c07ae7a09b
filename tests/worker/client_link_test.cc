// The pool's end of a connection: what does not fit waits in order, and a peer that is gone takes nothing along.
#include "worker/client_link.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <cstring>

namespace sheaf {
namespace {

struct Ends {
  Fd peer;
  ClientLink link;
  Ends() : link(Fd()) {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    peer = Fd(ends[0]);
    link = ClientLink(Fd(ends[1]));
  }
};

constexpr std::array<std::byte, 4> kWords{std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}};

TEST(ClientLink, APeerThatIsGoneIsHeardToItsLastWordWhateverIsSentToIt) {
  for (const bool left_unread : {false, true}) {
    Ends ends;
    if (left_unread) {
      ASSERT_TRUE(ends.link.Send(kWords, {}, 0));
    }
    ASSERT_EQ(SendPacket(ends.peer.get(), kWords, {}, true), PacketResult::kOk);
    ends.peer.Reset();
    for (int i = 0; i < 2; ++i) EXPECT_TRUE(ends.link.Send(kWords, {}, 0));
    EXPECT_TRUE(ends.link.Flush(0));
    Packet packet;
    EXPECT_EQ(ReceivePacket(ends.link.fd(), 100, false, &packet), PacketResult::kOk);
    EXPECT_EQ(ReceivePacket(ends.link.fd(), 100, false, &packet), PacketResult::kClosed);
  }
}

TEST(ClientLink, APeerThatDoesNotReadOrNeverCanIsToBeCutAfterAWhile) {
  Ends full;
  EXPECT_EQ(full.link.stall_deadline(), INT64_MAX);
  while (!full.link.pending()) ASSERT_TRUE(full.link.Send(kWords, {}, 5));
  EXPECT_EQ(full.link.stall_deadline(), 5 + ClientLink::kStallMax);

  Ends deaf;
  shutdown(deaf.peer.get(), SHUT_RD);
  EXPECT_TRUE(deaf.link.Send(kWords, {}, 5));
  EXPECT_FALSE(deaf.link.pending());
  EXPECT_EQ(deaf.link.stall_deadline(), 5 + ClientLink::kStallMax);
}

TEST(ClientLink, WhatDoesNotFitLeavesInOrderWhenThereIsRoomAgain) {
  Ends ends;
  std::uint32_t sent = 0, read = 0;
  const auto send = [&] { return ends.link.Send(std::as_bytes(std::span(&sent, 1)), {}, 0); };
  for (; sent < 10 || !ends.link.pending(); ++sent) ASSERT_TRUE(send());
  for (const std::uint32_t end = sent + 10; sent < end; ++sent) ASSERT_TRUE(send());
  Packet packet;
  while (read < sent) {
    ASSERT_EQ(ReceivePacket(ends.peer.get(), 100, false, &packet), PacketResult::kOk);
    ASSERT_EQ(std::memcmp(packet.bytes.data(), &read, sizeof read), 0);
    ++read;
    ASSERT_TRUE(ends.link.Flush(0));
  }
  EXPECT_FALSE(ends.link.pending());
}

}  // namespace
}  // namespace sheaf
