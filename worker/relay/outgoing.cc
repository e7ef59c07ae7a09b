#include "worker/relay/outgoing.h"

#include <cstring>

namespace sheaf::relay {

void Outgoing::Begin(Kind kind, std::uint64_t number) {
  head_ = bytes_.size();
  const Head head{kMagic, kind, number, 0};
  Raw(&head, sizeof head);
  body_ = 0;
}

void Outgoing::End() { std::memcpy(bytes_.data() + head_ + offsetof(Head, bytes), &body_, sizeof body_); }

void Outgoing::Raw(const void* bytes, std::size_t size) {
  const auto* first = static_cast<const std::byte*>(bytes);
  bytes_.insert(bytes_.end(), first, first + size);
  body_ += size;
  total_ += size;
}

void Outgoing::InPlace(const std::byte* bytes, std::size_t size) {
  if (size <= kCopyMax) return Raw(bytes, size);
  pieces_.push_back({bytes_.size(), bytes, size});
  body_ += size;
  total_ += size;
}

bool Outgoing::Flush(Stream& stream) {
  if (bytes_.empty()) return true;
  std::vector<iovec> vectors;
  std::size_t at = 0;
  const auto copied = [&](std::size_t until) {
    if (until > at) vectors.push_back({bytes_.data() + at, until - at});
    at = until;
  };
  for (const Piece& piece : pieces_) {
    copied(piece.after);
    vectors.push_back({const_cast<std::byte*>(piece.data), piece.size});
  }
  copied(bytes_.size());
  const bool written = stream.Write(vectors.data(), static_cast<int>(vectors.size()));
  constexpr std::size_t kRoomKept = 1 << 20;
  bytes_.clear();
  if (bytes_.capacity() > kRoomKept) bytes_.shrink_to_fit();
  pieces_.clear();
  pins_.clear();
  total_ = 0;
  return written;
}

}  // namespace sheaf::relay
