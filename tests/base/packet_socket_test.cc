// Packets stay whole, descriptors arrive once, and what is over the limits leaks nothing.
#include "base/packet_socket.h"

#include <dirent.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>

namespace sheaf {
namespace {

struct Pair {
  Fd a, b;
  Pair() {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    a = Fd(ends[0]);
    b = Fd(ends[1]);
  }
};

int OpenDescriptors() {
  DIR* directory = opendir("/proc/self/fd");
  int count = 0;
  while (readdir(directory)) ++count;
  closedir(directory);
  return count;
}

TEST(PacketSocket, DeliversBytesAndDescriptorsTogether) {
  Pair pair;
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  const std::array<std::byte, 3> bytes{std::byte{1}, std::byte{2}, std::byte{3}};
  ASSERT_EQ(SendPacket(pair.a.get(), bytes, {&pipe_ends[1], 1}, true), PacketResult::kOk);
  Packet packet;
  ASSERT_EQ(ReceivePacket(pair.b.get(), 100, true, &packet), PacketResult::kOk);
  EXPECT_EQ(packet.bytes, std::vector<std::byte>(bytes.begin(), bytes.end()));
  ASSERT_EQ(packet.fds.size(), 1u);
  close(pipe_ends[1]);
  ASSERT_EQ(write(packet.fds[0].get(), "x", 1), 1);
  char byte = 0;
  EXPECT_EQ(read(pipe_ends[0], &byte, 1), 1);
  close(pipe_ends[0]);
}

TEST(PacketSocket, SaysWhenThereIsNothingAndWhenTheOtherEndIsGone) {
  Pair pair;
  Packet packet;
  EXPECT_EQ(ReceivePacket(pair.b.get(), 100, false, &packet), PacketResult::kAgain);
  pair.a.Reset();
  EXPECT_EQ(ReceivePacket(pair.b.get(), 100, false, &packet), PacketResult::kClosed);
  const std::byte byte{};
  EXPECT_EQ(SendPacket(pair.b.get(), {&byte, 1}, {}, false), PacketResult::kClosed);
}

TEST(PacketSocket, ReadsWhatWasSentBeforeTheEndThoughTheOtherEndLeftSomethingUnread) {
  Pair pair;
  const std::byte byte{7};
  ASSERT_EQ(SendPacket(pair.b.get(), {&byte, 1}, {}, true), PacketResult::kOk);
  for (int i = 0; i < 2; ++i) ASSERT_EQ(SendPacket(pair.a.get(), {&byte, 1}, {}, true), PacketResult::kOk);
  pair.a.Reset();
  Packet packet;
  for (int i = 0; i < 2; ++i) ASSERT_EQ(ReceivePacket(pair.b.get(), 100, false, &packet), PacketResult::kOk);
  EXPECT_EQ(ReceivePacket(pair.b.get(), 100, false, &packet), PacketResult::kClosed);
}

TEST(PacketSocket, RefusesAPacketOverTheLimitAndClosesWhatItBrought) {
  Pair pair;
  const int before = OpenDescriptors();
  const std::vector<std::byte> bytes(200);
  const int fds[2] = {0, 0};
  ASSERT_EQ(SendPacket(pair.a.get(), bytes, fds, true), PacketResult::kOk);
  Packet packet;
  EXPECT_EQ(ReceivePacket(pair.b.get(), 100, true, &packet), PacketResult::kInvalid);
  EXPECT_EQ(OpenDescriptors(), before);
}

TEST(PacketSocket, RefusesMoreDescriptorsThanItExpectsAndLeaksNone) {
  Pair pair;
  const int before = OpenDescriptors();
  std::byte byte{};
  iovec piece{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(20 * sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* head = CMSG_FIRSTHDR(&message);
  head->cmsg_level = SOL_SOCKET;
  head->cmsg_type = SCM_RIGHTS;
  head->cmsg_len = CMSG_LEN(20 * sizeof(int));
  std::fill_n(reinterpret_cast<int*>(CMSG_DATA(head)), 20, 0);
  ASSERT_EQ(sendmsg(pair.a.get(), &message, 0), 1);
  Packet packet;
  EXPECT_EQ(ReceivePacket(pair.b.get(), 100, true, &packet), PacketResult::kInvalid);
  EXPECT_EQ(OpenDescriptors(), before);
}

TEST(PacketSocket, NeverBlocksUnlessAskedTo) {
  Pair pair;
  const std::vector<std::byte> bytes(60'000);
  PacketResult result = PacketResult::kOk;
  for (int i = 0; i < 1000 && result == PacketResult::kOk; ++i) result = SendPacket(pair.a.get(), bytes, {}, false);
  EXPECT_EQ(result, PacketResult::kAgain);
}

}  // namespace
}  // namespace sheaf
