// A real pool with a relay whose segments lie elsewhere (docs/decisions/0012): what its readers and their driver hear.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <vector>

#include "tests/worker/test_client.h"
#include "worker/pool_main.h"
#include "worker/pool_view.h"
#include "worker/relay/relay_main.h"

namespace sheaf::testing {
namespace {

using wire::Kind;
using wire::Refusal;
using wire::Role;
using wire::SegmentKind;

constexpr std::uint64_t kBytes = 1'000'001;
// What the fake relay does when it hears that one is wanted.
constexpr std::uint32_t kComes = limits::kAwayFirst, kAlsoComes = kComes + 1, kHasNoRoom = kComes + 2,
                        kDies = kComes + 3, kPublished = kComes + 4;
constexpr std::uint32_t kBoard = 3;  // the first after those that every client has
constexpr char kText[] = "from afar";

// Grants whatever a job wants elsewhere.
class GenerousNeighbours : public Neighbours {
 public:
  GenerousNeighbours() : event_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {}
  void Hear(const PoolView& view) {
    for (const scheduler::LeaseWant& want : view.report.wants) {
      if (!granted_.empty() && granted_.back().grant.job == want.job) continue;
      Granted granted;
      granted.grant.id = ++last_;
      granted.grant.job = want.job;
      granted.grant.lender = "other";
      granted.grant.slots = 1;
      granted_.push_back(granted);
      const std::uint64_t one = 1;
      (void)!write(event_.get(), &one, sizeof one);
    }
  }
  int fd() const override { return event_.get(); }
  std::optional<News> Take() override {
    std::uint64_t count = 0;
    if (read(event_.get(), &count, sizeof count) < 0) return std::nullopt;
    News news;
    news.grants = granted_;
    return news;
  }
  std::string Admit(const std::string&, const HasRoom&, Admitted*) override { return "nobody comes here"; }
  std::string Trouble() const override { return {}; }

 private:
  Fd event_;
  std::vector<Granted> granted_;
  std::uint64_t last_ = 0;
};

int RunGenerousPool(const std::vector<std::string>& arguments) {
  PoolOptions options;
  std::string reason;
  if (!ParsePoolArguments(arguments, &options, &reason)) std::abort();
  GenerousNeighbours neighbours;
  return RunPool(options, [&](const PoolView& view) { neighbours.Hear(view); }, &neighbours);
}

int RunFakeRelay() {
  const char* spawn = getenv(relay::kSpawnEnvironment);
  if (!spawn) return 7;
  TestClient client{Fd(wire::kWorkerSocketFd)};
  const auto answer = client.Attach(Role::kRelay, static_cast<std::uint32_t>(std::strtoul(spawn, nullptr, 10)));
  if (!answer || answer->kind() != Kind::kWelcome) return 8;
  std::array<wire::AwayEntry, 4> entries{};
  for (std::uint32_t i = 0; i < entries.size(); ++i) {
    entries[i].segment = kComes + i;
    entries[i].bytes = kBytes;
    std::memset(entries[i].offer, static_cast<int>('a' + i), sizeof entries[i].offer);
  }
  std::uint32_t submitter = 0;
  void* board = MAP_FAILED;  // where names are published, as results are: its segment is kBoard
  client.Send(Kind::kMakeSegment, wire::MakeSegment{{}, SegmentKind::kLarge, 0, 4096});
  while (board == MAP_FAILED) {
    const auto message = client.Next();
    if (!message) return 9;
    if (message->kind() == Kind::kOpenIn) submitter = message->As<wire::OpenPair>().peer;
    if (message->kind() != Kind::kSegmentMade) continue;
    board = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, message->fds.at(0).get(), 0);
    if (board == MAP_FAILED || message->As<wire::SegmentName>().segment != kBoard) return 9;
  }
  client.Mapped(kBoard);
  static std::atomic<bool> asked = false;
  struct sigaction on_signal{};
  on_signal.sa_handler = [](int) { asked = true; };
  sigaction(SIGUSR1, &on_signal, nullptr);
  client.Send(Kind::kAway, wire::Bare{}, 0, std::as_bytes(std::span(entries)));
  for (;;) {
    errno = 0;
    const auto message = client.Next();
    if (asked &&
        entries[0].segment != kPublished) {  // told past the pool: one more, and its name published as results are
      entries[0].segment = kPublished;
      client.Send(Kind::kAway, wire::Bare{}, 0, std::as_bytes(std::span(entries).first(1)));
      std::atomic_ref(*static_cast<std::uint32_t*>(board)).store(kPublished);
    }
    if (!message) {
      if (errno == EINTR) continue;
      break;
    }
    switch (message->kind()) {
      case Kind::kOpenIn:
        submitter = message->As<wire::OpenPair>().peer;
        break;
      case Kind::kWanted: {
        const std::uint32_t segment = message->As<wire::SegmentName>().segment;
        if (segment == kDies) return 3;
        if (segment == kHasNoRoom) {
          const std::string text = "no room for it";
          client.Send(Kind::kNotFetched, wire::Refused{{}, Refusal::kOutOfMemory, segment}, 0,
                      std::as_bytes(std::span(text)));
          break;
        }
        client.Send(Kind::kMakeSegment, wire::MakeSegment{{}, SegmentKind::kLarge, segment, kBytes}, 5);
        break;
      }
      case Kind::kSegmentMade: {
        const std::uint32_t segment = message->As<wire::SegmentName>().segment;
        void* at = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, message->fds.at(0).get(), 0);
        if (at == MAP_FAILED) return 9;
        std::memcpy(at, kText, sizeof kText);
        client.Mapped(segment);
        client.Send(Kind::kArrived, wire::Arrived{{}, submitter, segment, 3, 0});
        break;
      }
      case Kind::kDrain:
        return 0;
      default:
        break;
    }
  }
  return 0;
}

class PoolAway : public ::testing::Test {
 protected:
  PoolAway() : driver_(TestClient::Connect(pool_.path())) {
    EXPECT_TRUE(driver_.Attach(Role::kDriver));
    driver_.Send(Kind::kWant, wire::Want{{}, 1, 1000, 1});
    // A worker comes as well: a relay is who says how many places it has.
    while (const auto message = driver_.Await(Kind::kOpenOut)) {
      const auto pair = message->As<wire::OpenPair>();
      if (pair.places == 0) continue;
      relay_ = pair.peer;
      break;
    }
    EXPECT_NE(relay_, 0u);
    // Nobody names what is elsewhere before its owner has told the pool: here nobody has named it to us.
    EXPECT_TRUE(Eventually([&] {
      Ask(kDies, true, 40);
      auto answer = driver_.Next();
      while (answer && answer->As<wire::Header>().request != 40) answer = driver_.Next();
      return answer && answer->kind() == Kind::kSegmentAway;
    }));
  }
  void Ask(std::uint32_t segment, bool now, std::uint64_t request) {
    driver_.Send(Kind::kOpenSegment, wire::SegmentName{{}, relay_, segment, SegmentKind::kLarge, now, 0}, request);
  }
  // The text in an opened segment, which must be this one of the relay's.
  std::string Opened(std::uint32_t segment, std::uint64_t request) {
    const auto answer = driver_.Await(Kind::kSegmentOpened);
    if (!answer || answer->fds.size() != 1) return "no answer";
    const auto name = answer->As<wire::SegmentName>();
    EXPECT_EQ(name.header.request, request);
    EXPECT_EQ(name.client, relay_);
    EXPECT_EQ(name.segment, segment);
    void* at = mmap(nullptr, name.bytes, PROT_READ, MAP_SHARED, answer->fds[0].get(), 0);
    return at == MAP_FAILED ? "no memory" : static_cast<const char*>(at);
  }

  PoolProcess pool_;
  TestClient driver_;
  std::uint32_t relay_ = 0;
};

TEST_F(PoolAway, GivesTheOfferAtOnceOrTheBytesWhenTheyAreHere) {
  Ask(kComes, true, 41);
  const auto away = driver_.Await(Kind::kSegmentAway);
  ASSERT_TRUE(away);
  const auto name = away->As<wire::SegmentName>();
  EXPECT_EQ(name.header.request, 41u);
  EXPECT_EQ(name.client, relay_);
  EXPECT_EQ(name.segment, kComes);
  EXPECT_EQ(name.bytes, kBytes);
  EXPECT_EQ(away->Tail<wire::SegmentName>(), std::string(wire::kOfferBytes, 'a'));
  Ask(kComes, false, 42);
  EXPECT_EQ(Opened(kComes, 42), kText);
  const auto arrived = driver_.Await(Kind::kHasArrived);
  ASSERT_TRUE(arrived);
  EXPECT_EQ(arrived->As<wire::Arrived>().slot, kComes);
  EXPECT_EQ(arrived->As<wire::Arrived>().generation, 3u);
  Ask(kComes, true, 43);
  EXPECT_EQ(Opened(kComes, 43), kText) << "it is here";
}

// The pool is stopped until three messages lie in its sockets, and it reads the reader's two before the owner's.
TEST_F(PoolAway, HearsTheOwnerBeforeItAnswersTheFirstReader) {
  driver_.Send(Kind::kOpenSegment, wire::SegmentName{{}, relay_, kBoard, SegmentKind::kLarge, 0, 0}, 51);
  const auto opened = driver_.Await(Kind::kSegmentOpened);
  ASSERT_TRUE(opened && opened->fds.size() == 1);
  void* board = mmap(nullptr, 4096, PROT_READ, MAP_SHARED, opened->fds[0].get(), 0);
  ASSERT_NE(board, MAP_FAILED);
  const volatile auto* published = static_cast<const std::uint32_t*>(board);
  const pid_t pool = pool_.pool();
  const auto pid = static_cast<pid_t>(driver_.page().clients[relay_ & (limits::kClientsMax - 1)].pid.load());
  ASSERT_EQ(kill(pool, SIGSTOP), 0);
  ASSERT_TRUE(Eventually([&] {
    std::ifstream stat("/proc/" + std::to_string(pool) + "/stat");
    std::string line;
    return std::getline(stat, line) && line.find(") T ") != std::string::npos;
  }));
  driver_.Send(Kind::kStatus, wire::Bare{}, 52);
  const bool named = Eventually([&] {
    kill(pid, SIGUSR1);  // one that comes just before it sleeps does not wake it
    return *published == kPublished;
  });
  Ask(kPublished, true, 53);
  ASSERT_EQ(kill(pool, SIGCONT), 0);
  ASSERT_TRUE(named);
  EXPECT_TRUE(driver_.Await(Kind::kStatusReply));
  auto answer = driver_.Next();
  while (answer && answer->As<wire::Header>().request != 53) answer = driver_.Next();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->kind(), Kind::kSegmentAway);
}

TEST_F(PoolAway, BringsWhatWillBeReadSoon) {
  driver_.Send(Kind::kFetch, wire::SegmentName{{}, relay_, kAlsoComes, SegmentKind::kLarge, 0, 0});
  const auto arrived = driver_.Await(Kind::kHasArrived);
  ASSERT_TRUE(arrived);
  EXPECT_EQ(arrived->As<wire::Arrived>().slot, kAlsoComes);
  Ask(kAlsoComes, true, 44);
  EXPECT_EQ(Opened(kAlsoComes, 44), kText);
}

TEST_F(PoolAway, TellsWhoWaitsWhyItCouldNotBeBrought) {
  for (const std::uint64_t request : {45u, 46u}) {  // the second one tries again
    Ask(kHasNoRoom, false, request);
    const auto refused = driver_.Await(Kind::kRefused);
    ASSERT_TRUE(refused);
    EXPECT_EQ(refused->As<wire::Header>().request, request);
    EXPECT_EQ(refused->As<wire::Refused>().why, Refusal::kOutOfMemory);
    EXPECT_EQ(refused->Tail<wire::Refused>(), "no room for it");
  }
  Ask(kPublished, false, 47);
  const auto refused = driver_.Await(Kind::kRefused);
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->As<wire::Refused>().why, Refusal::kGone) << "nobody ever spoke of it";
}

TEST_F(PoolAway, AnswersByTheOldNameWhatWasMadeAgain) {
  Ask(kDies, false, 48);
  const auto gone = driver_.Await(Kind::kGone);
  ASSERT_TRUE(gone);
  ASSERT_EQ(gone->As<wire::Gone>().peer, relay_);
  const std::uint32_t lost[] = {kDies};
  driver_.Send(Kind::kRemake, wire::PeerName{{}, relay_, 0}, 0, std::as_bytes(std::span(lost)));
  driver_.Send(Kind::kHeirsTold, wire::PeerName{{}, relay_, 0});
  Ask(kDies, true, 49);
  const auto refused = driver_.Await(Kind::kRefused);
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->As<wire::Header>().request, 49u);
  EXPECT_EQ(refused->As<wire::Refused>().why, Refusal::kLater);
  driver_.Send(Kind::kMakeSegment, wire::MakeSegment{{}, SegmentKind::kLarge, 0, 4096}, 50);
  const auto made = driver_.Await(Kind::kSegmentMade);
  ASSERT_TRUE(made && made->fds.size() == 1);
  const std::uint32_t place = made->As<wire::SegmentName>().segment;
  void* at = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, made->fds[0].get(), 0);
  ASSERT_NE(at, MAP_FAILED);
  driver_.Mapped(place);
  std::memcpy(at, "again", 6);
  driver_.Send(Kind::kRemade, wire::Remade{{}, relay_, kDies, driver_.client(), place});
  EXPECT_EQ(Opened(kDies, 48), "again");
  driver_.Send(Kind::kDropSegment, wire::SegmentName{{}, driver_.client(), place, SegmentKind::kLarge, 0, 0});
  const auto dropped = driver_.Await(Kind::kSegmentGone);
  ASSERT_TRUE(dropped);
  EXPECT_EQ(dropped->As<wire::SegmentName>().client, relay_);
  EXPECT_EQ(dropped->As<wire::SegmentName>().segment, kDies);
}

}  // namespace
}  // namespace sheaf::testing

int main(int argc, char** argv) {
  using namespace sheaf::testing;
  const std::string role = argc > 1 ? argv[1] : "";
  if (role == "internal-pool") return RunGenerousPool({argv + 2, argv + argc});
  if (role == "internal-relay") return RunFakeRelay();
  int exit_code = 0;
  if (RunTestRole(argc, argv, &exit_code)) return exit_code;
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
