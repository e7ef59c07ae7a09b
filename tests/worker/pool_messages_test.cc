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

TEST(PoolMessages, SurvivesRandomDamage) {
  Random random(3);
  const std::vector<std::vector<std::byte>> seeds = {
      DriverAttach(),
      Bytes(Kind::kWant, wire::Want{{}, 1, 1000}),
      Bytes(Kind::kOpenSegment, wire::SegmentName{}),
      Bytes(Kind::kStartCall, wire::StartCall{}, std::vector<std::byte>(40)),
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
