// A client that means harm: wrong bytes, wrong times, names of what is not its own. It loses its connection, the pool
// goes on for others.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include "base/random.h"
#include "tests/worker/test_client.h"
#include "worker/pool_view.h"

namespace sheaf::testing {
namespace {

using wire::Kind;
using wire::Refusal;
using wire::Role;
using wire::SegmentKind;

struct Bare {
  wire::Header header;
};

Refusal WhyRefused(const std::optional<Received>& answer) {
  if (!answer || answer->kind() != Kind::kRefused) return Refusal::kNone;
  return answer->As<wire::Refused>().why;
}

TestClient Driver(const PoolProcess& pool, std::vector<std::string> worker = {"fake", "usual"}) {
  TestClient client = TestClient::Connect(pool.path());
  const auto answer = client.Attach(Role::kDriver, 0, std::move(worker));
  EXPECT_TRUE(answer && answer->kind() == Kind::kWelcome);
  return client;
}

void Want(TestClient& client, std::uint32_t workers, std::uint32_t cpus_milli = 1000) {
  client.Send(Kind::kWant, wire::Want{{}, workers, cpus_milli});
}

const wire::ClientEntry& EntryOf(const TestClient& client, std::uint32_t of) {
  return client.page().clients[of & (limits::kClientsMax - 1)];
}

class HostileBytes : public ::testing::Test {
 protected:
  // Sends `bytes` from a fresh connection that has attached (or not); the pool must cut it and serve others.
  void Expect(bool attached, std::span<const std::byte> bytes, std::span<const int> fds = {}) {
    TestClient client = attached ? Driver(pool_) : TestClient::Connect(pool_.path());
    client.SendRaw(bytes, fds);
    EXPECT_TRUE(client.AwaitClosed());
    EXPECT_FALSE(StatusOf(pool_.path()).empty()) << "the pool lives";
  }
  template <typename T>
  void ExpectCut(Kind kind, T message, bool attached = true) {
    message.header = {kind, sizeof message, 1};
    Expect(attached, std::as_bytes(std::span(&message, 1)));
  }
  PoolProcess pool_;
};

TEST_F(HostileBytes, APacketThatIsNoMessage) {
  for (const std::size_t size : {1u, 15u, 16u, 17u, 200u, 65000u}) {
    Expect(true, std::vector<std::byte>(size, std::byte{0xff}));
    Expect(false, std::vector<std::byte>(size, std::byte{0}));
  }
}

TEST_F(HostileBytes, AHeaderThatLiesAboutItsSize) {
  wire::Header header{Kind::kStatus, 4000, 1};
  Expect(false, std::as_bytes(std::span(&header, 1)));
  wire::Want want{{Kind::kWant, sizeof(wire::Header), 1}, 1, 1};
  Expect(true, std::as_bytes(std::span(&want, 1)));
}

TEST_F(HostileBytes, MessagesOnlyThePoolSends) {
  ExpectCut(Kind::kGone, wire::Gone{{}, 1, 0});
  ExpectCut(Kind::kSpawn, wire::Spawn{});
  ExpectCut(Kind::kKill, wire::Exited{{}, 1, 9});
}

TEST_F(HostileBytes, MessagesBeforeAttaching) {
  ExpectCut(Kind::kWant, wire::Want{{}, 1, 1000}, false);
  ExpectCut(Kind::kMakeSegment, wire::MakeSegment{{}, SegmentKind::kLarge, 0, 4096}, false);
  ExpectCut(Kind::kDetach, Bare{}, false);
}

TEST_F(HostileBytes, AWorkerThatNobodyStarted) {
  wire::Attach attach{};
  attach.version = wire::kVersion;
  attach.role = Role::kWorker;
  attach.spawn = 1;
  attach.pid = static_cast<std::uint32_t>(getpid());
  ExpectCut(Kind::kAttach, attach, false);
}

TEST_F(HostileBytes, AnAttachWhoseStringsAreNotWhatItSays) {
  Fd null(open("/dev/null", O_RDONLY));
  const int fds[3] = {null.get(), null.get(), null.get()};
  wire::Attach attach{};
  attach.version = wire::kVersion;
  attach.role = Role::kDriver;
  attach.argument_count = attach.environment_count = 0xffffffff;
  std::vector<std::byte> bytes(sizeof attach + 20, std::byte{'a'});
  attach.header = {Kind::kAttach, static_cast<std::uint32_t>(bytes.size()), 1};
  std::memcpy(bytes.data(), &attach, sizeof attach);
  Expect(false, bytes, fds);
  attach.argument_count = 1;
  attach.environment_count = 0;
  std::memcpy(bytes.data(), &attach, sizeof attach);
  Expect(false, bytes, {});   // without descriptors
  Expect(false, bytes, fds);  // the last string has no end
}

TEST_F(HostileBytes, DescriptorsWhereNoneBelong) {
  Fd null(open("/dev/null", O_RDONLY));
  const int fds[4] = {null.get(), null.get(), null.get(), null.get()};
  wire::Header header{Kind::kStatus, sizeof header, 1};
  Expect(false, std::as_bytes(std::span(&header, 1)), fds);
}

TEST_F(HostileBytes, NamesOfWhatIsNotTheirs) {
  ExpectCut(Kind::kSegmentMapped, wire::SegmentName{{}, 0, 12345, SegmentKind::kLarge, 0, 0});
  ExpectCut(Kind::kDropSegment, wire::SegmentName{{}, 0, 0, SegmentKind::kLarge, 0, 0});
  ExpectCut(Kind::kBlocked, wire::Blocked{{}, 7, 0});
  ExpectCut(Kind::kBlocked, wire::Blocked{{}, 1, 0});  // a driver has no slot to give back
  TestClient living = Driver(pool_);
  ExpectCut(Kind::kGoneAck, wire::PeerName{{}, living.client(), 0});
  ExpectCut(Kind::kHeirs, wire::PeerName{{}, living.client(), 0});
  ExpectCut(Kind::kHeirsTold, wire::PeerName{{}, living.client(), 0});
  const wire::AwayEntry away{limits::kAwayFirst, 0, 4096, {}};
  wire::Header header{Kind::kAway, sizeof header + sizeof away, 1};
  std::vector<std::byte> bytes(header.size);
  std::memcpy(bytes.data(), &header, sizeof header);
  std::memcpy(bytes.data() + sizeof header, &away, sizeof away);
  Expect(true, bytes);  // only a relay has segments elsewhere
  ExpectCut(Kind::kNotFetched, wire::Refused{{}, Refusal::kGone, limits::kAwayFirst});
  ExpectCut(Kind::kArrived, wire::Arrived{{}, living.client(), 0, 0, 0});
  const std::uint32_t claimed = limits::kAwayFirst;
  wire::PeerName dead{{Kind::kRemake, sizeof dead + sizeof claimed, 1}, living.client(), 0};
  bytes.resize(dead.header.size);
  std::memcpy(bytes.data(), &dead, sizeof dead);
  std::memcpy(bytes.data() + sizeof dead, &claimed, sizeof claimed);
  Expect(true, bytes);  // it lives
  TestClient client = Driver(pool_);
  EXPECT_EQ(WhyRefused(client.Open(living.client(), 0)), Refusal::kGone) << "another job's memory";
  EXPECT_EQ(WhyRefused(client.Open(living.client(), limits::kAwayFirst)), Refusal::kGone);
  EXPECT_EQ(WhyRefused(client.Open(client.client(), limits::kAwayFirst)), Refusal::kGone);
  EXPECT_EQ(WhyRefused(client.Open(0xffffffff, 0xffffffff)), Refusal::kGone);
  EXPECT_EQ(WhyRefused(client.Make(static_cast<SegmentKind>(1), 0)), Refusal::kLimit);
  EXPECT_EQ(WhyRefused(client.Make(SegmentKind::kLarge, ~std::uint64_t{0})), Refusal::kLimit);
  client.Send(Kind::kReturnWorker, wire::PairName{{}, 0xdeadbeef, 999, 999, 0});
  EXPECT_EQ(client.Make(SegmentKind::kLarge, 4096)->kind(), Kind::kSegmentMade) << "harmless: may cross a death";
}

TEST_F(HostileBytes, ADriverThatAttachesTwice) {
  TestClient client = Driver(pool_);
  client.Send(Kind::kAttached, Bare{});
  EXPECT_TRUE(client.AwaitClosed());
  TestClient other = Driver(pool_);
  const auto again = other.Attach(Role::kDriver);
  EXPECT_EQ(WhyRefused(again), Refusal::kInvalid);
  EXPECT_TRUE(other.AwaitClosed());
}

TEST_F(HostileBytes, DriversThatAreGoneBeforeTheirWelcome) {
  Fd executable(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  const int fds[3] = {executable.get(), 1, 2};
  wire::Attach attach{};
  attach.version = wire::kVersion;
  attach.role = Role::kDriver;
  attach.argument_count = 1;
  std::vector<std::byte> tail;
  AppendJobDescription({"/", {"fake"}, {}}, &tail);
  for (int i = 0; i < 100; ++i) {
    TestClient client = TestClient::Connect(pool_.path());
    ASSERT_TRUE(client.Send(Kind::kAttach, attach, 1, tail, fds));
    if (i % 2) client.Send(Kind::kAttached, Bare{});
    if (i % 4 == 3) Want(client, 1);
  }
  EXPECT_TRUE(Eventually([&] {
    const auto view = PoolViewFromJson(StatusOf(pool_.path()));
    return view && view->clients == 0 && view->segment_bytes == 0 && view->jobs.empty();
  })) << StatusOf(pool_.path());
}

TEST_F(HostileBytes, AFloodOfRequestsFromOneThatNeverReads) {
  TestClient client = Driver(pool_);
  wire::Header header{Kind::kStatus, sizeof header, 1};
  fcntl(client.fd(), F_SETFL, O_NONBLOCK);
  bool closed = false;
  for (int i = 0; i < 2'000'000 && !closed; ++i) {
    closed = SendPacket(client.fd(), std::as_bytes(std::span(&header, 1)), {}, false) == PacketResult::kClosed;
  }
  EXPECT_TRUE(closed) << "its queue in the pool is bounded";
  EXPECT_FALSE(StatusOf(pool_.path()).empty());
}

// Well-formed messages in any order, naming what exists, what existed and what never did. Each connection may be cut;
// the pool stays, and when all have gone nothing is left of them.
TEST_F(HostileBytes, RandomConversations) {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    Random random(seed);
    std::vector<TestClient> clients;
    std::vector<std::uint32_t> known = {0, 1, 0xffffffff, 4096};  // client ids
    for (int i = 0; i < 3; ++i) {
      clients.push_back(Driver(pool_, {"fake", i == 0 ? "monkey" : "usual"}));
      known.push_back(clients.back().client());
    }
    for (int step = 0; step < 400; ++step) {
      TestClient& client = clients[random.Below(clients.size())];
      const std::uint32_t peer = known[random.Below(known.size())];
      const auto segment = static_cast<std::uint32_t>(random.Below(8));
      const auto kind = static_cast<SegmentKind>(random.Below(4));
      const wire::SegmentName name{{}, peer, segment, kind, 0, random.Below(1 << 20)};
      switch (random.Below(12)) {
        case 0:
          client.Send(Kind::kMakeSegment, wire::MakeSegment{{}, kind, 0, random.Below(9 << 20)}, step);
          break;
        case 1:
          if (random.OneIn(4)) client.Send(Kind::kSegmentMapped, name);
          break;
        case 2:
          client.Send(Kind::kOpenSegment, name, step);
          break;
        case 3:
          if (random.OneIn(4)) client.Send(Kind::kDropSegment, name);
          break;
        case 4:
        case 5:
          client.Send(Kind::kWant, wire::Want{{},
                                              static_cast<std::uint32_t>(random.Below(5)),
                                              static_cast<std::uint32_t>(random.Below(2500))});
          break;
        case 6:
          client.Send(Kind::kReturnWorker, wire::PairName{{}, peer, segment, segment, 0});
          break;
        case 7:
          if (random.OneIn(8)) client.Send(Kind::kGoneAck, wire::PeerName{{}, peer, 0});
          break;
        case 8:
          client.Send(Kind::kStartCall, wire::StartCall{{}, segment, 0, 1});
          break;
        case 9:
          client.Send(Kind::kStatus, Bare{}, step);
          break;
        case 10:
          if (random.OneIn(20)) client.Send(Kind::kDetach, Bare{});
          break;
        default: {
          Packet packet;
          while (ReceivePacket(client.fd(), 65536, false, &packet) == PacketResult::kOk) {
            if (packet.bytes.size() < sizeof(wire::OpenPair)) continue;
            wire::OpenPair pair;
            std::memcpy(&pair, packet.bytes.data(), sizeof pair);
            if (pair.header.kind != Kind::kOpenOut) continue;
            known.push_back(pair.peer);
            const auto pid = static_cast<pid_t>(EntryOf(client, pair.peer).pid.load());
            if (pid > 0 && random.OneIn(3)) kill(pid, SIGKILL);
            if (random.OneIn(3)) client.Send(Kind::kGoneAck, wire::PeerName{{}, pair.peer, 0});
          }
        }
      }
    }
    // A close with unread answers would throw away what the pool has not read yet: hear the last answer first.
    for (TestClient& client : clients) {
      client.Send(Kind::kStatus, Bare{}, 9999);
      while (const auto message = client.Next()) {
        if (message->As<wire::Header>().request == 9999) break;
      }
    }
    clients.clear();
    ASSERT_TRUE(Eventually([&] {
      const auto view = PoolViewFromJson(StatusOf(pool_.path()));
      return view && view->clients == 0 && view->segment_bytes == 0 && view->jobs.empty();
    })) << "seed "
        << seed << ": " << StatusOf(pool_.path());
  }
}

}  // namespace
}  // namespace sheaf::testing

int main(int argc, char** argv) {
  int exit_code = 0;
  if (sheaf::testing::RunTestRole(argc, argv, &exit_code)) return exit_code;
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
