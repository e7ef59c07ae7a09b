// What fetchers, transfer servers and halves of relays say about bytes that travel beside the relays' streams.
// docs/decisions/0009. Pure layouts and their bounds; nothing here reads or writes.
//
//   fetcher -> server            server -> fetcher
//   kLocate  who may serve me    kHolder  this one, or kGone
//   kDone    I have all of it
//   kRead    a range             kPart (bytes follow), kLater (alive, not there yet), kGone
//   kPing    alive
//
//   half -> its server           server -> half
//                                kHere       where others reach this server; the first packet
//   kOffer (a descriptor)        kOffered, kRefused
//   kProgress
//   kWithdraw                    kWithdrawn: not a byte is being read any more
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

namespace sheaf::relay {

using Key = std::array<std::uint8_t, 16>;  // random; who knows it may read the bytes

inline constexpr std::uint32_t kTransferMagic = 0x31544853;  // "SHT1"
inline constexpr std::uint64_t kOfferMin = 4 << 20;          // smaller blocks go in the stream
inline constexpr std::uint64_t kRangeBytes = 1 << 20;        // what is asked for at a time
inline constexpr std::uint64_t kReadMax = 64 << 20;          // in one kRead
inline constexpr std::uint64_t kPartMax = 1 << 20;           // of one checksum
inline constexpr std::uint64_t kBlockMax = std::uint64_t{1} << 40;
inline constexpr std::size_t kAddressMax = 104;  // with its final zero

using AddressText = std::array<char, kAddressMax>;

// Empty if the text has no end, or holds what no address has.
inline std::string ReadAddress(const AddressText& text) {
  const std::size_t size = strnlen(text.data(), text.size());
  if (size == text.size()) return {};
  for (std::size_t i = 0; i < size; ++i)
    if (text[i] <= ' ' || text[i] > '~') return {};
  return {text.data(), size};
}
inline AddressText WriteAddress(const std::string& address) {
  AddressText text{};
  if (address.size() < text.size()) std::memcpy(text.data(), address.data(), address.size());
  return text;
}

enum class Ask : std::uint32_t { kLocate = 1, kDone = 2, kRead = 3, kPing = 4 };
struct AskFrame {
  std::uint32_t magic;
  Ask kind;
  Key key;
  std::uint64_t member;  // kLocate, kRead: what the asker calls itself
  std::uint64_t offset;  // kRead; kLocate: the holder that failed, 0: none
  std::uint64_t size;    // kRead
  AddressText address;   // kLocate: of the asker's own server; empty: it serves nobody
};

enum class Say : std::uint32_t { kHolder = 1, kGone = 2, kPart = 3, kLater = 4 };
struct SayFrame {
  std::uint32_t magic;
  Say kind;
  std::uint64_t offset;    // kPart; kHolder: the holder's name
  std::uint64_t size;      // kPart
  std::uint64_t checksum;  // kPart: XXH3-64; 0 where the connection itself authenticates every byte
  AddressText address;     // kHolder; empty: the server itself
};

enum class Note : std::uint32_t {
  kOffer = 1,
  kProgress = 2,
  kWithdraw = 3,
  kHere = 4,
  kOffered = 5,
  kRefused = 6,
  kWithdrawn = 7,
};
struct NotePacket {
  std::uint32_t magic;
  Note kind;
  std::uint64_t token;   // the half's name for this offer
  Key key;               // kOffer: zeros: the server makes one
  std::uint64_t offset;  // in the descriptor
  std::uint64_t size;
  std::uint64_t ready;   // so many bytes from the start are there
  std::uint64_t member;  // kOffer: the fetcher whose copy it is; 0: nobody's
  AddressText address;   // kHere
};

// What lies in a form in place of a block that is offered.
struct BlockOffer {
  Key key;
  std::uint64_t bytes;
  AddressText address;
};
static_assert(sizeof(BlockOffer) == 128 && sizeof(AskFrame) == 152 && sizeof(SayFrame) == 136);

inline bool KeyIsEmpty(const Key& key) { return key == Key{}; }

// Empty, or what is wrong.
inline std::string CheckAsk(const AskFrame& ask) {
  if (ask.magic != kTransferMagic) return "these bytes ask for no transfer";
  switch (ask.kind) {
    case Ask::kLocate:
      if (ask.member == 0) return "an asker without a name";
      if (ask.address[0] != 0 && ReadAddress(ask.address).empty()) return "an asker with no address";
      return {};
    case Ask::kRead:
      if (ask.size == 0 || ask.size > kReadMax || ask.offset > kBlockMax) return "a range out of bounds";
      return {};
    case Ask::kDone:
    case Ask::kPing:
      return {};
  }
  return "a question of no known kind";
}

// Empty, or what is wrong with an answer to a reader who still waits for [offset, end).
inline std::string CheckSay(const SayFrame& say, std::uint64_t offset, std::uint64_t end) {
  if (say.magic != kTransferMagic) return "these bytes belong to no transfer";
  switch (say.kind) {
    case Say::kPart:
      if (say.offset != offset || say.size == 0 || say.size > kPartMax || say.size > end - offset)
        return "a part that was not asked for";
      return {};
    case Say::kHolder:
      if (say.address[0] != 0 && ReadAddress(say.address).empty()) return "a holder with no address";
      return {};
    case Say::kGone:
    case Say::kLater:
      return {};
  }
  return "an answer of no known kind";
}

inline std::string CheckOffer(const BlockOffer& offer) {
  if (KeyIsEmpty(offer.key)) return "an offer without a key";
  if (offer.bytes < kOfferMin || offer.bytes > kBlockMax) return "an offer whose size is out of bounds";
  if (ReadAddress(offer.address).empty()) return "an offer without an address";
  return {};
}

}  // namespace sheaf::relay
