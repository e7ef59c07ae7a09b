#include "base/random.h"

#include "base/check.h"

namespace sheaf {

std::uint64_t Random::Next() {
  state_ += 0x9e3779b97f4a7c15u;
  std::uint64_t z = state_;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

std::uint64_t Random::Below(std::uint64_t bound) {
  SHEAF_CHECK(bound > 0);
  // Draws below the remainder of 2^64 would make small results likelier.
  const std::uint64_t unfair = (0 - bound) % bound;
  std::uint64_t draw = Next();
  while (draw < unfair) draw = Next();
  return draw % bound;
}

std::int64_t Random::Between(std::int64_t low, std::int64_t high) {
  SHEAF_CHECK(low <= high);
  const std::uint64_t span = static_cast<std::uint64_t>(high) - static_cast<std::uint64_t>(low);
  if (span == ~std::uint64_t{0}) return static_cast<std::int64_t>(Next());
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(low) + Below(span + 1));
}

void Digest::Feed(std::uint64_t value) {
  for (int i = 0; i < 8; ++i) {
    value_ = (value_ ^ (value & 0xff)) * 0x100000001b3u;
    value >>= 8;
  }
}

void Digest::Feed(const char* text) {
  for (; *text != 0; ++text) value_ = (value_ ^ static_cast<unsigned char>(*text)) * 0x100000001b3u;
}

}  // namespace sheaf
