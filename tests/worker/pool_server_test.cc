// A real pool and supervisor in processes of their own, driven over the socket: attach, memory, leases, deaths, the end.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

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

TEST(PoolServer, TakesTheLastWordsOfAWorkerThatDiesWithoutHavingReadItsMessages) {
  PoolProcess pool;
  TestClient driver = Driver(pool, {"fake", "last-words"});
  Want(driver, 1);
  const auto gone = driver.Await(Kind::kGone);
  ASSERT_TRUE(gone);
  const std::uint32_t worker = gone->As<wire::Gone>().peer;
  constexpr std::uint32_t kItsFirst = 3;  // after its control segment, slab and arena
  const auto opened = driver.Open(worker, kItsFirst);
  ASSERT_TRUE(opened);
  EXPECT_EQ(opened->kind(), Kind::kSegmentOpened);
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
