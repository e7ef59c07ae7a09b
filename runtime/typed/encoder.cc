// The parts of Encoder and Decoder that know of no memory but their own, and the stored form of raw lists.
//
// A raw list: u8 kind, u64 count, then either the elements, aligned to at most 16 bytes from the
// payload's start, or the record of a block. Lists of more than 1 KiB, and those that need more
// alignment, always get a block.
#include <algorithm>
#include <cstring>
#include <limits>
#include <string>

#include "sheaf/array.h"
#include "sheaf/detail/abi.h"
#include "sheaf/detail/codec.h"
#include "sheaf/error.h"

namespace sheaf::detail {
namespace {

constexpr std::uint8_t kInlineList = 0, kBlockList = 1;
constexpr std::size_t kInlineAlignmentMax = 16;

std::uint64_t ByteCount(std::uint64_t count, std::size_t size) {
  std::uint64_t bytes = 0;
  if (__builtin_mul_overflow(count, size, &bytes) || bytes > static_cast<std::uint64_t>(PTRDIFF_MAX)) {
    ThrowDamaged("a list is longer than memory");
  }
  return bytes;
}

void WriteHead(Encoder& to, std::uint8_t kind, std::uint64_t count) {
  to.Raw(&kind, sizeof kind);
  to.Raw(&count, sizeof count);
}

}  // namespace

void Encoder::CopyBlock(const Block& block) {
  std::byte* to = NewBlock(block.size);
  if (block.size) std::memcpy(to, block.data, block.size);
}

void Encoder::Grow(std::size_t need) {
  const std::size_t capacity = std::max(need, 2 * capacity_);
  std::byte* grown = nullptr;
  if (data_ == inline_) {
    grown = static_cast<std::byte*>(std::malloc(capacity));
    if (grown) std::memcpy(grown, inline_, size_);
  } else {
    grown = static_cast<std::byte*>(std::realloc(data_, capacity));
  }
  if (!grown) throw OutOfMemoryError("no memory for a value of " + std::to_string(need) + " bytes");
  data_ = grown;
  capacity_ = capacity;
}

namespace {

thread_local bool thread_ends = false;  // has no destructor, so that it can be read until the very end
struct Spare {
  std::vector<Encoder::Dependency> room;
  ~Spare() { thread_ends = true; }
};
thread_local Spare spare;

}  // namespace

std::vector<Encoder::Dependency> Encoder::TakeRoom() {
  std::vector<Dependency> room;
  if (!thread_ends) room.swap(spare.room);
  if (room.capacity() == 0) room.reserve(8);
  return room;
}

void Encoder::KeepRoom(std::vector<Dependency> dependencies) noexcept {
  constexpr std::size_t kRoomMax = 256;
  dependencies.clear();
  if (!thread_ends && dependencies.capacity() <= kRoomMax) spare.room.swap(dependencies);
}

void Encoder::Clear() {
  size_ = 0;
  holds_.clear();
  dependencies_.clear();
  marks_.clear();
}

void Encoder::Mark(std::uint32_t kind) {
  if (size_ >= kMarkRef) throw LimitError("a value whose own bytes are more than 2 GiB cannot name memory or objects");
  marks_.push_back(static_cast<std::uint32_t>(size_) | kind);
}

// Zeros up to a multiple of four, the marks, their count, the size of the payload itself.
std::size_t Encoder::AppendMarks() {
  if (marks_.empty()) return 0;
  const std::size_t size = size_;
  Align(4);
  const std::uint32_t tail[2] = {static_cast<std::uint32_t>(marks_.size()), static_cast<std::uint32_t>(size)};
  Raw(marks_.data(), marks_.size() * sizeof marks_[0]);
  Raw(tail, sizeof tail);
  return size_ - size;
}

bool SplitMarks(std::span<const std::byte>* payload, std::span<const std::byte>* marks) {
  std::uint32_t tail[2];
  const std::size_t total = payload->size();
  if (total < sizeof tail) return false;
  std::memcpy(tail, payload->data() + total - sizeof tail, sizeof tail);
  const std::uint64_t begin = (std::uint64_t{tail[1]} + 3) / 4 * 4, bytes = std::uint64_t{tail[0]} * 4;
  if (begin + bytes + sizeof tail != total) return false;
  *marks = payload->subspan(begin, bytes);
  *payload = payload->first(tail[1]);
  return true;
}

void Decoder::ThrowShort() { ThrowDamaged("the bytes end too early"); }

std::byte* NewRawList(Encoder& to, std::uint64_t count, std::size_t size, std::size_t alignment) {
  const std::uint64_t bytes = ByteCount(count, size);
  if (bytes <= kListInlineBytes && alignment <= kInlineAlignmentMax) {
    WriteHead(to, kInlineList, count);
    to.Align(alignment);
    return to.Extend(bytes);
  }
  WriteHead(to, kBlockList, count);
  return to.NewBlock(bytes);
}

void WriteRawList(Encoder& to, const RawList& list, std::size_t size, std::size_t alignment) {
  if (list.in_block) {
    WriteHead(to, kBlockList, list.count);
    to.AddBlock({list.pin, list.data, list.count * size, list.loc});
    return;
  }
  std::byte* out = NewRawList(to, list.count, size, alignment);
  if (list.count) std::memcpy(out, list.data, list.count * size);
}

RawList TakeRawList(Decoder& from, std::size_t size, std::size_t alignment, bool view) {
  const std::byte* head = from.Take(sizeof(std::uint8_t) + sizeof(std::uint64_t));  // as WriteHead has written it
  const auto kind = static_cast<std::uint8_t>(head[0]);
  std::uint64_t count = 0;
  std::memcpy(&count, head + 1, sizeof count);
  const std::uint64_t bytes = ByteCount(count, size);
  RawList list{{}, nullptr, count, {}, false};
  if (kind == kBlockList) {
    Block block = from.TakeBlock();
    if (block.size < bytes) ThrowDamaged("a block is shorter than its list");
    list.pin = std::move(block.pin);
    list.data = block.data;
    list.loc = block.loc;
    list.in_block = true;
  } else if (kind == kInlineList) {
    from.Align(std::min(alignment, kInlineAlignmentMax));
    list.pin = from.pin();
    list.data = from.Take(bytes);
  } else {
    ThrowDamaged("a list is of no known kind");
  }
  const bool aligned = (reinterpret_cast<std::uintptr_t>(list.data) & (alignment - 1)) == 0;
  if (!view || bytes == 0 || (aligned && list.pin)) return list;
  // Nothing keeps these bytes alive, or they lie badly: view a copy.
  WritableBlock copy(bytes);
  std::memcpy(copy.data(), list.data, bytes);
  Block block = std::move(copy).Seal();
  return {std::move(block.pin), block.data, count, block.loc, true};
}

std::size_t TupleOffset(Decoder& from, std::size_t begin, std::size_t index, std::size_t size) {
  from.Seek(begin);
  const auto first = ReadRaw<std::uint32_t>(from);
  // The table ends where the first element begins, so its first entry tells its length.
  if (first < begin + 4 || (first - begin) % 4 != 0 || (size && first != begin + 4 * size)) {
    ThrowTypeMismatch(RegisterForm(typeid(std::tuple<>)), first);
  }
  if (index >= (first - begin) / 4) ThrowDamaged("a tuple has no such element");
  from.Seek(begin + 4 * index);
  return ReadRaw<std::uint32_t>(from);
}

Stored&& DependencyAt(Arguments& arguments, std::uint32_t index) {
  if (index >= arguments.dependencies.size()) ThrowDamaged("an argument names no dependency");
  return std::move(arguments.dependencies[index]);
}

void ThrowBadArgument() { ThrowDamaged("an argument is of no known kind"); }

}  // namespace sheaf::detail
