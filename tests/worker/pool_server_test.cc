// A real pool and supervisor in processes of their own, driven over the socket: attach, memory, leases, deaths, the end.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/random.h"
#include "object_store/segment_layout.h"
#include "tests/worker/test_client.h"
#include "worker/pool_view.h"

namespace sheaf::testing {
namespace {

using wire::ClientState;
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

TEST(PoolServer, WelcomesADriverWithItsMemory) {
  PoolProcess pool;
  TestClient driver = Driver(pool);
  const wire::Welcome& welcome = driver.welcome();
  EXPECT_EQ(welcome.slots, 2u);
  EXPECT_EQ(welcome.out_regions, 2 + limits::kPairsSpare);
  EXPECT_EQ(welcome.control_bytes, store::ControlBytes(welcome.out_regions, welcome.in_regions));
  EXPECT_EQ(driver.page().magic, wire::kPageMagic);
  EXPECT_TRUE(Eventually([&] { return EntryOf(driver, driver.client()).state.load() == ClientState::kAlive; }));
  EXPECT_EQ(EntryOf(driver, driver.client()).client.load(), driver.client());
  EXPECT_EQ(EntryOf(driver, driver.client()).pid.load(), static_cast<std::uint32_t>(getpid()));
}

TEST(PoolServer, LendsASegmentReadWriteToItsOwnerAndReadOnlyToOthers) {
  PoolProcess pool;
  TestClient driver = Driver(pool);
  for (const std::uint64_t bytes : {std::uint64_t{4096}, std::uint64_t{32} << 20}) {  // inline, and on the side thread
    auto made = driver.Make(SegmentKind::kLarge, bytes);
    ASSERT_TRUE(made && made->kind() == Kind::kSegmentMade && made->fds.size() == 1);
    const auto name = made->As<wire::SegmentName>();
    EXPECT_EQ(name.bytes, bytes);
    EXPECT_EQ(name.header.request, 77u);
    void* own = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, made->fds[0].get(), 0);
    ASSERT_NE(own, MAP_FAILED);
    EXPECT_EQ(WhyRefused(driver.Open(driver.client(), name.segment)), Refusal::kInvalid) << "not published yet";
    driver.Mapped(name.segment);
    static_cast<char*>(own)[7] = 'x';
    auto opened = driver.Open(driver.client(), name.segment);
    ASSERT_TRUE(opened && opened->kind() == Kind::kSegmentOpened && opened->fds.size() == 1);
    const void* view = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, opened->fds[0].get(), 0);
    ASSERT_NE(view, MAP_FAILED);
    EXPECT_EQ(static_cast<const char*>(view)[7], 'x');
    driver.Send(Kind::kDropSegment, wire::SegmentName{{}, driver.client(), name.segment, SegmentKind::kLarge, 0, 0});
    EXPECT_EQ(WhyRefused(driver.Open(driver.client(), name.segment)), Refusal::kGone);
  }
}

TEST(PoolServer, RefusesMemoryBeyondTheBudgetAndGoesOn) {
  PoolProcess pool({.store_bytes = 64ull << 20});
  TestClient driver = Driver(pool);
  const auto refused = driver.Make(SegmentKind::kLarge, 100ull << 20);
  ASSERT_EQ(WhyRefused(refused), Refusal::kOutOfMemory);
  EXPECT_NE(refused->Tail<wire::Refused>().find("--store"), std::string::npos);
  EXPECT_EQ(driver.Make(SegmentKind::kLarge, 1 << 20)->kind(), Kind::kSegmentMade);
}

TEST(PoolServer, StartsAWorkerAndOpensAPairWithMatchingRegionsAndNonce) {
  PoolProcess pool;
  TestClient driver = Driver(pool);
  Want(driver, 1);
  auto out = driver.Await(Kind::kOpenOut);
  ASSERT_TRUE(out && out->fds.size() == 1);
  const auto pair = out->As<wire::OpenPair>();
  EXPECT_NE(pair.nonce, 0u);
  EXPECT_LT(pair.own_region, driver.welcome().out_regions);
  EXPECT_LT(pair.peer_region, driver.welcome().in_regions);
  EXPECT_EQ(EntryOf(driver, pair.peer).state.load(), ClientState::kAlive);
  void* control = mmap(nullptr, pair.peer_control_bytes, PROT_READ, MAP_SHARED, out->fds[0].get(), 0);
  EXPECT_NE(control, MAP_FAILED);
}

TEST(PoolServer, GivesTwoPairsToADriverThatWantsTwo) {
  PoolProcess pool;
  TestClient driver = Driver(pool);
  Want(driver, 2);
  const auto first = driver.Await(Kind::kOpenOut), second = driver.Await(Kind::kOpenOut);
  ASSERT_TRUE(first && second);
  EXPECT_NE(first->As<wire::OpenPair>().peer, second->As<wire::OpenPair>().peer);
  EXPECT_NE(first->As<wire::OpenPair>().own_region, second->As<wire::OpenPair>().own_region);
}

TEST(PoolServer, TellsOfAKilledWorkerAndReplacesItAndForgetsItOnceAcknowledged) {
  PoolProcess pool;
  TestClient driver = Driver(pool);
  Want(driver, 1);
  const auto pair = driver.Await(Kind::kOpenOut)->As<wire::OpenPair>();
  const auto before = PoolViewFromJson(StatusOf(pool.path()))->segment_bytes;
  const pid_t worker = static_cast<pid_t>(EntryOf(driver, pair.peer).pid.load());
  ASSERT_EQ(kill(worker, SIGKILL), 0);
  const auto gone = driver.Await(Kind::kGone);
  ASSERT_TRUE(gone);
  EXPECT_EQ(gone->As<wire::Gone>().peer, pair.peer);
  EXPECT_EQ(gone->As<wire::Gone>().status, SIGKILL);
  EXPECT_EQ(EntryOf(driver, pair.peer).state.load(), ClientState::kDead);
  // What it published is readable until everybody has said goodbye.
  const auto opened = driver.Open(pair.peer, 2);
  EXPECT_TRUE(opened.has_value());
  driver.Send(Kind::kGoneAck, wire::PeerName{{}, pair.peer, 0});
  bool forgotten = false, replaced = false;
  while (!forgotten || !replaced) {
    const auto message = driver.Next();
    ASSERT_TRUE(message);
    forgotten |= message->kind() == Kind::kForgotten && message->As<wire::PeerName>().peer == pair.peer;
    replaced |= message->kind() == Kind::kOpenOut && message->As<wire::OpenPair>().peer != pair.peer;
  }
  EXPECT_EQ(WhyRefused(driver.Open(pair.peer, 2)), Refusal::kGone);
  EXPECT_EQ(PoolViewFromJson(StatusOf(pool.path()))->segment_bytes, before) << "the dead one's memory is back";
}

TEST(PoolServer, EndsTheJobOfADriverThatIsKilled) {
  PoolProcess pool;
  TestClient watcher = Driver(pool);  // to read the page
  int worker_pid[2];
  ASSERT_EQ(pipe(worker_pid), 0);
  const pid_t driver = fork();
  if (driver == 0) {
    TestClient client = Driver(pool);
    Want(client, 1);
    const auto pair = client.Await(Kind::kOpenOut)->As<wire::OpenPair>();
    const std::uint32_t pid = EntryOf(client, pair.peer).pid.load();
    (void)!write(worker_pid[1], &pid, sizeof pid);
    pause();
  }
  std::uint32_t worker = 0;
  ASSERT_EQ(read(worker_pid[0], &worker, sizeof worker), static_cast<ssize_t>(sizeof worker));
  kill(driver, SIGKILL);
  waitpid(driver, nullptr, 0);
  EXPECT_TRUE(Eventually([&] { return !ProcessExists(static_cast<pid_t>(worker)); }));
  EXPECT_TRUE(Eventually([&] { return PoolViewFromJson(StatusOf(pool.path()))->clients == 1; }));
  EXPECT_EQ(PoolViewFromJson(StatusOf(pool.path()))->jobs.size(), 1u) << "only the watcher's is left";
}

TEST(PoolServer, AnswersAGoodbyeOnceTheWorkersAreGone) {
  PoolProcess pool;
  TestClient driver = Driver(pool);
  Want(driver, 2);
  const auto pair = driver.Await(Kind::kOpenOut)->As<wire::OpenPair>();
  const pid_t worker = static_cast<pid_t>(EntryOf(driver, pair.peer).pid.load());
  driver.Send(Kind::kDetach, Bare{}, 9);
  const auto done = driver.Await(Kind::kDone);
  ASSERT_TRUE(done);
  EXPECT_EQ(done->As<wire::Header>().request, 9u);
  EXPECT_FALSE(ProcessExists(worker));
  EXPECT_TRUE(Eventually([&] { return PoolViewFromJson(StatusOf(pool.path()))->segment_bytes == 0; }));
}

TEST(PoolServer, KillsAWorkerThatIgnoresTheEndOfItsJob) {
  PoolProcess pool;
  TestClient driver = Driver(pool, {"fake", "stubborn"});
  Want(driver, 1);
  const auto pair = driver.Await(Kind::kOpenOut)->As<wire::OpenPair>();
  const pid_t worker = static_cast<pid_t>(EntryOf(driver, pair.peer).pid.load());
  driver.Send(Kind::kDetach, Bare{});
  EXPECT_TRUE(driver.Await(Kind::kDone));
  EXPECT_FALSE(ProcessExists(worker));
}

TEST(PoolServer, RefusesTheJobWhoseWorkersNeverBecomeReady) {
  PoolProcess pool;
  for (const char* behaviour : {"dies-early", "other-program", "other-pid", "other-spawn", "garbage"}) {
    TestClient driver = Driver(pool, {"fake", behaviour});
    Want(driver, 1);
    const auto refused = driver.Await(Kind::kRefused);
    ASSERT_TRUE(refused) << behaviour;
    EXPECT_EQ(WhyRefused(refused), Refusal::kSpawnFailed) << behaviour;
    const std::string text = refused->Tail<wire::Refused>();
    if (behaviour == std::string("dies-early")) {
      EXPECT_NE(text.find("exited with code 7"), std::string::npos) << text;
    } else if (behaviour == std::string("other-program")) {
      EXPECT_NE(text.find("build ids differ"), std::string::npos) << text;
    }
  }
  EXPECT_FALSE(StatusOf(pool.path()).empty());
}

TEST(PoolServer, SaysThatMemoryIsWhyNoWorkerStarts) {
  PoolProcess pool({.store_bytes = 2ull << 20});  // room for a driver, not for a worker
  TestClient driver = Driver(pool);
  Want(driver, 1);
  const auto refused = driver.Await(Kind::kRefused);
  ASSERT_EQ(WhyRefused(refused), Refusal::kSpawnFailed);
  EXPECT_NE(refused->Tail<wire::Refused>().find("--store"), std::string::npos) << refused->Tail<wire::Refused>();
}

TEST(PoolServer, RefusesATaskWiderThanThePool) {
  PoolProcess pool;
  TestClient driver = Driver(pool);
  Want(driver, 1, 3000);
  EXPECT_EQ(WhyRefused(driver.Await(Kind::kRefused)), Refusal::kInfeasible);
}

TEST(PoolServer, RefusesAnotherVersion) {
  PoolProcess pool;
  TestClient client = TestClient::Connect(pool.path());
  wire::Attach attach{};
  attach.version = wire::kVersion + 1;
  attach.role = Role::kWorker;
  client.Send(Kind::kAttach, attach, 3);
  const auto answer = client.Next();
  ASSERT_EQ(WhyRefused(answer), Refusal::kOtherVersion);
  EXPECT_EQ(answer->As<wire::Header>().request, 3u);
  EXPECT_TRUE(client.AwaitClosed());
}

TEST(PoolServer, KeepsRunStartCallsForWorkersToCome) {
  PoolProcess pool;
  TestClient driver = Driver(pool);
  const std::byte argument[3] = {std::byte{1}, std::byte{2}, std::byte{3}};
  EXPECT_TRUE(driver.Send(Kind::kStartCall, wire::StartCall{{}, 4, 0, 99}, 0, argument));
  Want(driver, 1);
  EXPECT_TRUE(driver.Await(Kind::kOpenOut));
}

// ---- bytes that mean harm ---------------------------------------------------------------------------------------

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
  TestClient client = Driver(pool_);
  EXPECT_EQ(WhyRefused(client.Open(living.client(), 0)), Refusal::kGone) << "another job's memory";
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
        case 0: client.Send(Kind::kMakeSegment, wire::MakeSegment{{}, kind, 0, random.Below(9 << 20)}, step); break;
        case 1: if (random.OneIn(4)) client.Send(Kind::kSegmentMapped, name); break;
        case 2: client.Send(Kind::kOpenSegment, name, step); break;
        case 3: if (random.OneIn(4)) client.Send(Kind::kDropSegment, name); break;
        case 4:
        case 5:
          client.Send(Kind::kWant, wire::Want{{}, static_cast<std::uint32_t>(random.Below(5)),
                                              static_cast<std::uint32_t>(random.Below(2500))});
          break;
        case 6: client.Send(Kind::kReturnWorker, wire::PairName{{}, peer, segment, segment, 0}); break;
        case 7: if (random.OneIn(8)) client.Send(Kind::kGoneAck, wire::PeerName{{}, peer, 0}); break;
        case 8: client.Send(Kind::kStartCall, wire::StartCall{{}, segment, 0, 1}); break;
        case 9: client.Send(Kind::kStatus, Bare{}, step); break;
        case 10: if (random.OneIn(20)) client.Send(Kind::kDetach, Bare{}); break;
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
    })) << "seed " << seed << ": " << StatusOf(pool_.path());
  }
}

// ---- the end ----------------------------------------------------------------------------------------------------

TEST(PoolEnd, DrainsOnSigterm) {
  PoolProcess pool;
  TestClient driver = Driver(pool);
  Want(driver, 2);
  const auto pair = driver.Await(Kind::kOpenOut)->As<wire::OpenPair>();
  const pid_t worker = static_cast<pid_t>(EntryOf(driver, pair.peer).pid.load());
  EXPECT_EQ(pool.Stop(SIGTERM), 0);
  EXPECT_FALSE(ProcessExists(worker));
  EXPECT_TRUE(driver.AwaitClosed());
  EXPECT_NE(access(pool.path().c_str(), F_OK), 0) << "the socket's file is gone";
}

TEST(PoolEnd, KillsWhatDoesNotDrainInTime) {
  PoolProcess pool({.drain_ms = 100});
  TestClient driver = Driver(pool, {"fake", "stubborn"});
  Want(driver, 1);
  const auto pair = driver.Await(Kind::kOpenOut)->As<wire::OpenPair>();
  const pid_t worker = static_cast<pid_t>(EntryOf(driver, pair.peer).pid.load());
  EXPECT_EQ(pool.Stop(SIGTERM), 0);
  EXPECT_FALSE(ProcessExists(worker));
}

TEST(PoolEnd, StopsWhenAClientAsksAndSaysWhenItIsDone) {
  PoolProcess pool;
  TestClient client = TestClient::Connect(pool.path());
  client.Send(Kind::kStop, Bare{}, 4);
  const auto done = client.Await(Kind::kDone);
  ASSERT_TRUE(done);
  EXPECT_EQ(done->As<wire::Header>().request, 4u);
  EXPECT_EQ(pool.AwaitExit(), 0);
}

TEST(PoolEnd, RefusesDriversWhileItDrains) {
  PoolProcess pool({.drain_ms = 5000});
  TestClient driver = Driver(pool, {"fake", "stubborn"});
  Want(driver, 1);
  ASSERT_TRUE(driver.Await(Kind::kOpenOut));
  TestClient asking = TestClient::Connect(pool.path());
  asking.Send(Kind::kStop, Bare{}, 4);
  ASSERT_TRUE(Eventually([&] { return PoolViewFromJson(StatusOf(pool.path()))->draining; }));
  TestClient late = TestClient::Connect(pool.path());
  EXPECT_EQ(WhyRefused(late.Attach(Role::kDriver)), Refusal::kStopping);
}

}  // namespace
}  // namespace sheaf::testing

int main(int argc, char** argv) {
  int exit_code = 0;
  if (sheaf::testing::RunTestRole(argc, argv, &exit_code)) return exit_code;
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
