// What a transfer server reads of fetchers and halves, what a fetcher reads of servers, and what offers hold: frames of a fixed size with
// anything in them. What passes the checks must be within the bounds that its users rely on.
#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "tests/fuzz/target.h"
#include "worker/relay/transfer_frame.h"

namespace {

using namespace sheaf::relay;

template <class T>
std::string Bytes(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

template <class T>
bool Take(const std::uint8_t*& data, std::size_t& size, T* value) {
  if (size < sizeof *value) return false;
  std::memcpy(value, data, sizeof *value);
  data += sizeof *value;
  size -= sizeof *value;
  return true;
}

}  // namespace

std::vector<std::string> FuzzSeeds() {
  Key key{};
  key[0] = 1;
  const AskFrame read{kTransferMagic, Ask::kRead, key, 0, 0, kRangeBytes, {}};
  const AskFrame locate{kTransferMagic, Ask::kLocate, key, 7, 0, 0, WriteAddress("10.0.0.1:7401")};
  const SayFrame part{kTransferMagic, Say::kPart, 0, kPartMax, 1, {}};
  const SayFrame holder{kTransferMagic, Say::kHolder, 9, 0, 0, WriteAddress("[fd00::1]:7401")};
  const BlockOffer offer{key, kOfferMin, WriteAddress("10.0.0.1:7401")};
  std::vector<std::string> seeds;
  for (const AskFrame& ask : {read, locate})
    for (const SayFrame& say : {part, holder}) seeds.push_back(Bytes(ask) + Bytes(say) + Bytes(offer));
  return seeds;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  AskFrame ask{};
  if (!Take(data, size, &ask)) return 0;
  if (CheckAsk(ask).empty()) {
    SHEAF_CHECK(ask.magic == kTransferMagic);
    if (ask.kind == Ask::kRead) SHEAF_CHECK(ask.size > 0 && ask.size <= kReadMax && ask.offset + ask.size > ask.offset);
    if (ask.kind == Ask::kLocate) SHEAF_CHECK(ask.member != 0 && ReadAddress(ask.address).size() < kAddressMax);
  }
  SayFrame say{};
  if (!Take(data, size, &say)) return 0;
  const std::uint64_t offset = ask.offset % kBlockMax, end = offset + ask.size % kReadMax;
  if (CheckSay(say, offset, end).empty() && say.kind == Say::kPart)
    SHEAF_CHECK(say.offset == offset && say.size <= end - offset && say.size <= kPartMax && say.size > 0);
  BlockOffer offer{};
  if (!Take(data, size, &offer)) return 0;
  if (CheckOffer(offer).empty()) {
    const std::string address = ReadAddress(offer.address);
    SHEAF_CHECK(!address.empty() && address.size() < kAddressMax && offer.bytes <= kBlockMax);
    SHEAF_CHECK(std::none_of(address.begin(), address.end(), [](char c) { return c <= ' ' || c > '~'; }));
  }
  return 0;
}
