// Packets on a pool's socket.
#include <algorithm>
#include <cstring>
#include <memory>

#include "base/check.h"
#include "tests/fuzz/target.h"
#include "worker/pool_messages.h"

namespace {

using sheaf::wire::Kind;

template <class T>
std::string Packet(Kind kind, T message, const std::string& tail = "") {
  message.header = {kind, static_cast<std::uint32_t>(sizeof message + tail.size()), 7};
  std::string bytes(sizeof message, '\0');
  std::memcpy(bytes.data(), &message, sizeof message);
  return bytes + tail;
}

}  // namespace

std::vector<std::string> FuzzSeeds() {
  namespace wire = sheaf::wire;
  std::vector<std::byte> job;
  sheaf::AppendJobDescription({"/home/a", {"program", "--flag"}, {"A=1", "B="}}, &job);
  wire::Attach attach{};
  attach.role = wire::Role::kDriver;
  attach.argument_count = 2;
  attach.environment_count = 2;
  return {Packet(Kind::kAttach, attach, {reinterpret_cast<const char*>(job.data()), job.size()}),
          Packet(Kind::kMakeSegment, wire::MakeSegment{}),
          Packet(Kind::kSegmentMapped, wire::SegmentName{}),
          Packet(Kind::kOpenSegment, wire::SegmentName{}),
          Packet(Kind::kDropSegment, wire::SegmentName{}),
          Packet(Kind::kWant, wire::Want{}),
          Packet(Kind::kReturnWorker, wire::PairName{}),
          Packet(Kind::kBlocked, wire::Blocked{}),
          Packet(Kind::kGoneAck, wire::PeerName{}),
          Packet(Kind::kHeirs, wire::PeerName{}, std::string(40, 'h')),
          Packet(Kind::kHeirsTold, wire::PeerName{}),
          Packet(Kind::kAway, wire::Bare{}, std::string(2 * sizeof(wire::AwayEntry), 'a')),
          Packet(Kind::kNotFetched, wire::Refused{{}, wire::Refusal::kOutOfMemory, 16384}, "no room"),
          Packet(Kind::kArrived, wire::Arrived{}),
          Packet(Kind::kFetch, wire::SegmentName{}),
          Packet(Kind::kRemake, wire::PeerName{}, std::string(12, 'r')),
          Packet(Kind::kRemade, wire::Remade{}, "another shape"),
          Packet(Kind::kStartCall, wire::StartCall{}, "arguments")};
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // On the heap, of exactly this size: AddressSanitizer sees a read beyond it.
  const auto copy = std::make_unique<std::byte[]>(size);
  if (size) std::memcpy(copy.get(), data, size);
  std::string reason;
  const auto message = sheaf::ParseClientMessage({copy.get(), size}, size % 4, &reason);
  SHEAF_CHECK(message.has_value() == reason.empty());
  return 0;
}
