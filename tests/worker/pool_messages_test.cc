// Every cut and every flip of a valid message is either parsed or refused, never read beyond its end.
#include "worker/pool_messages.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>

#include "base/random.h"
#include "worker/pool_options.h"

namespace sheaf {
namespace {

using wire::Kind;
using wire::Refusal;

template <typename T>
std::vector<std::byte> Bytes(Kind kind, T message, std::span<const std::byte> tail = {}) {
  message.header = {kind, static_cast<std::uint32_t>(sizeof message + tail.size()), 7};
  std::vector<std::byte> bytes(sizeof message);
  std::memcpy(bytes.data(), &message, sizeof message);
  bytes.insert(bytes.end(), tail.begin(), tail.end());
  return bytes;
}

std::vector<std::byte> DriverAttach() {
  std::vector<std::byte> tail;
  AppendJobDescription({"/home/a", {"program", "--flag"}, {"A=1", "B="}}, &tail);
  wire::Attach attach{};
  attach.role = wire::Role::kDriver;
  attach.argument_count = 2;
  attach.environment_count = 2;
  return Bytes(Kind::kAttach, attach, tail);
}

// Parses a copy on the heap of exactly this size, so that AddressSanitizer sees a read beyond it.
std::optional<ClientMessage> Parse(std::span<const std::byte> bytes, std::size_t fds) {
  const auto copy = std::make_unique<std::byte[]>(bytes.size());
  std::copy(bytes.begin(), bytes.end(), copy.get());
  std::string reason;
  auto message = ParseClientMessage({copy.get(), bytes.size()}, fds, &reason);
  EXPECT_EQ(message.has_value(), reason.empty());
  return message;
}

TEST(PoolMessages, ReadsWhatADriverSaysOfItsJob) {
  const auto message = Parse(DriverAttach(), 3);
  ASSERT_TRUE(message);
  EXPECT_EQ(message->request, 7u);
  const auto& job = std::get<AttachMessage>(message->body).job;
  EXPECT_EQ(job.directory, "/home/a");
  EXPECT_EQ(job.arguments, (std::vector<std::string>{"program", "--flag"}));
  EXPECT_EQ(job.environment, (std::vector<std::string>{"A=1", "B="}));
}

TEST(PoolMessages, WantsThreeDescriptorsWithADriverAndNoneElsewhere) {
  EXPECT_FALSE(Parse(DriverAttach(), 2));
  EXPECT_FALSE(Parse(DriverAttach(), 4));
  EXPECT_FALSE(Parse(Bytes(Kind::kWant, wire::Want{}), 1));
}

TEST(PoolMessages, RefusesEveryTruncation) {
  const auto whole = DriverAttach();
  for (std::size_t size = 0; size < whole.size(); ++size) EXPECT_FALSE(Parse(std::span(whole).first(size), 3));
}

TEST(PoolMessages, RefusesCountsThatDoNotFitTheStrings) {
  auto bytes = DriverAttach();
  wire::Attach attach;
  std::memcpy(&attach, bytes.data(), sizeof attach);
  for (const auto& [arguments, environment] : std::initializer_list<std::pair<std::uint32_t, std::uint32_t>>{
           {0, 4}, {3, 2}, {2, 1}, {0xffffffff, 0xffffffff}, {0xffffffff, 5}}) {
    attach.argument_count = arguments;
    attach.environment_count = environment;
    std::memcpy(bytes.data(), &attach, sizeof attach);
    EXPECT_FALSE(Parse(bytes, 3)) << arguments << " " << environment;
  }
}

TEST(PoolMessages, RefusesEnumeratorsOutOfRange) {
  EXPECT_FALSE(Parse(Bytes(Kind::kMakeSegment, wire::MakeSegment{{}, static_cast<wire::SegmentKind>(4), 0, 1}), 0));
  EXPECT_FALSE(Parse(Bytes(Kind::kBlocked, wire::Blocked{{}, 2, 0}), 0));
  wire::Attach attach{};
  attach.role = static_cast<wire::Role>(4);
  EXPECT_FALSE(Parse(Bytes(Kind::kAttach, attach), 0));
  EXPECT_FALSE(Parse(Bytes(Kind::kWelcome, wire::Welcome{}), 0));
}

// ---- segments that lie elsewhere (docs/decisions/0012)

TEST(PoolMessages, ReadsWhatARelayHasElsewhere) {
  std::vector<wire::AwayEntry> entries(2);
  entries[0] = {16384, 0, 5000, {}};
  entries[1] = {16385, 0, 6000, {}};
  entries[1].offer[wire::kOfferBytes - 1] = 9;
  const auto message = Parse(Bytes(Kind::kAway, wire::Bare{}, std::as_bytes(std::span(entries))), 0);
  ASSERT_TRUE(message);
  const auto& read = std::get<AwayMessage>(message->body).entries;
  ASSERT_EQ(read.size(), 2u);
  EXPECT_EQ(read[0].bytes, 5000u);
  EXPECT_EQ(read[1].segment, 16385u);
  EXPECT_EQ(read[1].offer[wire::kOfferBytes - 1], 9);
}

TEST(PoolMessages, RefusesAListThatIsEmptyTooLongOrHasSomethingLeftOver) {
  const std::vector<std::byte> most(wire::kAwayEntriesMax * sizeof(wire::AwayEntry));
  EXPECT_TRUE(Parse(Bytes(Kind::kAway, wire::Bare{}, most), 0));
  const std::vector<std::byte> more(most.size() + sizeof(wire::AwayEntry));
  EXPECT_FALSE(Parse(Bytes(Kind::kAway, wire::Bare{}, more), 0));
  EXPECT_FALSE(Parse(Bytes(Kind::kAway, wire::Bare{}), 0));
  EXPECT_FALSE(Parse(Bytes(Kind::kAway, wire::Bare{}, std::span(most).first(sizeof(wire::AwayEntry) + 1)), 0));
  EXPECT_FALSE(Parse(Bytes(Kind::kRemake, wire::PeerName{}), 0));
  EXPECT_FALSE(Parse(Bytes(Kind::kRemake, wire::PeerName{}, std::span(most).first(7)), 0));
  const std::uint32_t segments[] = {16384, 16390};
  const auto message = Parse(Bytes(Kind::kRemake, wire::PeerName{{}, 77, 0}, std::as_bytes(std::span(segments))), 0);
  ASSERT_TRUE(message);
  EXPECT_EQ(std::get<RemakeMessage>(message->body).dead, 77u);
  EXPECT_EQ(std::get<RemakeMessage>(message->body).segments, (std::vector<std::uint32_t>{16384, 16390}));
}

TEST(PoolMessages, AnOpenWaitsOrDoesNot) {
  for (std::uint32_t now = 0; now <= 3; ++now) {
    const auto message = Parse(Bytes(Kind::kOpenSegment, wire::SegmentName{{}, 5, 6, {}, now, 0}), 0);
    ASSERT_EQ(message.has_value(), now <= 1) << now;
    if (!message) continue;
    EXPECT_EQ(std::get<OpenSegmentMessage>(message->body).now, now == 1);
  }
  EXPECT_FALSE(Parse(Bytes(Kind::kOpenSegment, wire::SegmentName{{}, 5, 6, {}, 0xffffffff, 0}), 0));
}

TEST(PoolMessages, ReadsWhyBytesDidNotComeAndNoMoreTextThanThat) {
  const std::vector<std::byte> most(4096, std::byte{'x'}), more(4097, std::byte{'x'});
  const wire::Refused refused{{}, Refusal::kOutOfMemory, 16400};
  const auto message = Parse(Bytes(Kind::kNotFetched, refused, most), 0);
  ASSERT_TRUE(message);
  const auto& body = std::get<NotFetchedMessage>(message->body);
  EXPECT_EQ(body.segment, 16400u);
  EXPECT_EQ(body.why, Refusal::kOutOfMemory);
  EXPECT_EQ(body.text, std::string(4096, 'x'));
  EXPECT_FALSE(Parse(Bytes(Kind::kNotFetched, refused, more), 0));
  for (const std::uint32_t why : {0u, 10u, 0xffffffffu})
    EXPECT_FALSE(Parse(Bytes(Kind::kNotFetched, wire::Refused{{}, static_cast<Refusal>(why), 1}), 0)) << why;
  const wire::Remade remade{{}, 1, 2, 3, 4};
  EXPECT_FALSE(Parse(Bytes(Kind::kRemade, remade, more), 0));
  const auto place = Parse(Bytes(Kind::kRemade, remade), 0);
  ASSERT_TRUE(place);
  EXPECT_EQ(std::get<RemadeMessage>(place->body).segment, 2u);
  EXPECT_EQ(std::get<RemadeMessage>(place->body).in, 4u);
}

TEST(PoolMessages, ReadsNamesOfWhatIsElsewhere) {
  const auto made = Parse(Bytes(Kind::kMakeSegment, wire::MakeSegment{{}, wire::SegmentKind::kLarge, 16384, 5}), 0);
  ASSERT_TRUE(made);
  EXPECT_EQ(std::get<MakeSegmentMessage>(made->body).segment, 16384u);
  EXPECT_EQ(std::get<MakeSegmentMessage>(made->body).bytes, 5u);
  const auto fetch = Parse(Bytes(Kind::kFetch, wire::SegmentName{{}, 5, 16384, {}, 0, 0}), 0);
  ASSERT_TRUE(fetch);
  EXPECT_EQ(std::get<FetchMessage>(fetch->body).client, 5u);
  EXPECT_EQ(std::get<FetchMessage>(fetch->body).segment, 16384u);
  const auto arrived = Parse(Bytes(Kind::kArrived, wire::Arrived{{}, 7, 8, 9, 0}), 0);
  ASSERT_TRUE(arrived);
  EXPECT_EQ(std::get<ArrivedMessage>(arrived->body).submitter, 7u);
  EXPECT_EQ(std::get<ArrivedMessage>(arrived->body).generation, 9u);
  EXPECT_FALSE(Parse(Bytes(Kind::kArrived, wire::Arrived{}, std::vector<std::byte>(1)), 0));
  for (const Kind kind : {Kind::kSegmentAway, Kind::kWanted, Kind::kHasArrived})
    EXPECT_FALSE(Parse(Bytes(kind, wire::SegmentName{}), 0)) << "only the pool says it";
}

TEST(PoolMessages, SurvivesRandomDamage) {
  Random random(3);
  const std::vector<std::vector<std::byte>> seeds = {
      DriverAttach(),
      Bytes(Kind::kWant, wire::Want{{}, 1, 1000}),
      Bytes(Kind::kOpenSegment, wire::SegmentName{}),
      Bytes(Kind::kStartCall, wire::StartCall{}, std::vector<std::byte>(40)),
      Bytes(Kind::kAway, wire::Bare{}, std::vector<std::byte>(2 * sizeof(wire::AwayEntry))),
      Bytes(Kind::kNotFetched, wire::Refused{{}, Refusal::kGone, 16384}, std::vector<std::byte>(9)),
      Bytes(Kind::kRemake, wire::PeerName{}, std::vector<std::byte>(8)),
      Bytes(Kind::kRemade, wire::Remade{}, std::vector<std::byte>(9)),
  };
  int parsed = 0;
  for (int round = 0; round < 20'000; ++round) {
    auto bytes = seeds[random.Below(seeds.size())];
    for (std::uint64_t flips = 1 + random.Below(4); flips > 0; --flips) {
      bytes[random.Below(bytes.size())] ^= static_cast<std::byte>(1u << random.Below(8));
    }
    if (random.OneIn(3)) bytes.resize(random.Below(bytes.size() + 1));
    parsed += Parse(bytes, random.OneIn(2) ? 3 : 0).has_value();
  }
  EXPECT_GT(parsed, 0) << "some damage lands where any value is fine";
}

TEST(PoolOptions, ComeBackFromTheCommandLineAsTheyWere) {
  PoolOptions options;
  options.slots = 3;
  options.store_bytes = 1ull << 40;
  options.socket_path = "/tmp/with space";
  options.pool_id = "a";
  options.scheduler = "unix:/x";
  options.supervisor_fd = 3;
  options.driver_fd = 4;
  options.drain_ms = 5;
  const auto arguments = PoolArguments(options);
  EXPECT_EQ(arguments[0], "internal-pool");
  PoolOptions back;
  std::string reason;
  ASSERT_TRUE(ParsePoolArguments({arguments.begin() + 1, arguments.end()}, &back, &reason)) << reason;
  EXPECT_EQ(PoolArguments(back), arguments);
}

TEST(PoolOptions, NameWhatTheyDoNotUnderstand) {
  PoolOptions options;
  std::string reason;
  EXPECT_FALSE(ParsePoolArguments({"--slots", "two"}, &options, &reason));
  EXPECT_NE(reason.find("two"), std::string::npos);
  EXPECT_FALSE(ParsePoolArguments({"--wrong", "1"}, &options, &reason));
  EXPECT_FALSE(ParsePoolArguments({"--slots"}, &options, &reason));
}

}  // namespace
}  // namespace sheaf
