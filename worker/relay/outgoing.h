// Frames that wait to be written together. Owned by one thread.
//
// Small parts are copied; large ones stay where they are until Flush, kept by the pins that were given along.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "sheaf/detail/abi.h"
#include "worker/relay/frame.h"
#include "worker/relay/stream.h"

namespace sheaf::relay {

class Outgoing {
 public:
  void Begin(Kind kind, std::uint64_t number);
  void End();  // the frame is complete
  void Raw(const void* bytes, std::size_t size);
  void InPlace(const std::byte* bytes, std::size_t size);  // unchanged until Flush; give a pin to Keep
  void Keep(detail::Pin pin) { pins_.push_back(std::move(pin)); }
  void Bare(Kind kind, std::uint64_t number) {
    Begin(kind, number);
    End();
  }

  bool empty() const { return bytes_.empty(); }
  bool large() const { return total_ >= kLarge; }  // it is time to flush
  bool Flush(Stream& stream);                      // false: the stream is over

 private:
  static constexpr std::size_t kCopyMax = 16 * 1024, kLarge = 256 * 1024;
  struct Piece {
    std::size_t after;  // how much of bytes_ comes before it
    const std::byte* data;
    std::size_t size;
  };
  std::vector<std::byte> bytes_;
  std::vector<Piece> pieces_;
  std::vector<detail::Pin> pins_;
  std::size_t head_ = 0;  // of the frame that is being written, in bytes_
  std::uint64_t body_ = 0, total_ = 0;
};

}  // namespace sheaf::relay
