// Array<T>: an immutable run of plain values in shared memory, and ArrayBuilder<T>, which makes one in place.
//
// An Array is a handle: copying it costs a count, and so does sending it to a task or returning it
// from one. The bytes live as long as any handle on them, in any process. Nothing that views them
// outlives its handle unnoticed: accessors refuse temporaries, and there is no begin() or end() by
// which a span could be made of one.
// Thread-safety: as std::shared_ptr<const T[]>.
//
// Standard library only: users compile this file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <utility>

#include "sheaf/detail/abi.h"
#include "sheaf/detail/raw.h"

namespace sheaf {
template <class T>
class ArrayBuilder;
}  // namespace sheaf

namespace sheaf::detail {

// A list of raw elements, without their type.
struct RawList {
  Pin pin;
  const std::byte* data = nullptr;
  std::uint64_t count = 0;
  Loc loc;
  bool in_block = false;  // else the bytes lie inside a payload, and are copied when the list is sent on
};
inline constexpr std::uint64_t kListInlineBytes = 1024;  // from here on a list gets a block of its own

// Appends the head of a list and room for `count` elements; returns where to write them.
std::byte* NewRawList(Encoder& to, std::uint64_t count, std::size_t size, std::size_t alignment);
// Appends `list`: by naming its block, or by a copy.
void WriteRawList(Encoder& to, const RawList& list, std::size_t size, std::size_t alignment);
// Reads a list in place. `view`: the bytes will be used where they are, so they must be aligned and kept alive.
RawList TakeRawList(Decoder& from, std::size_t size, std::size_t alignment, bool view);
[[noreturn]] void ThrowArrayTooLarge(std::size_t count, std::size_t size);
[[noreturn]] void ThrowOutOfRange(std::size_t begin, std::size_t end, std::size_t size);

// The door between handles and the codec.
struct ArrayAccess {
  template <class T>
  static const RawList& List(const Array<T>& array) {
    return array.list_;
  }
  template <class T>
  static Array<T> Make(RawList&& list) {
    return Array<T>(std::move(list));
  }
};

}  // namespace sheaf::detail

namespace sheaf {

template <class T>
class Array {
 public:
  Array() = default;
  // Copies `values` into a block of shared memory. Throws OutOfMemoryError.
  static Array Copy(std::span<const T> values) {
    ArrayBuilder<T> builder(values.size());
    if (!values.empty()) std::memcpy(builder.span().data(), values.data(), values.size_bytes());
    return std::move(builder).Seal();
  }

  std::size_t size() const { return static_cast<std::size_t>(list_.count); }
  bool empty() const { return list_.count == 0; }
  // Valid while this handle, or a copy of it, is.
  std::span<const T> span() const& { return {data(), size()}; }
  std::span<const T> span() const&& = delete;
  const T* data() const& { return reinterpret_cast<const T*>(list_.data); }
  const T* data() const&& = delete;
  operator std::span<const T>() const& { return span(); }
  operator std::span<const T>() const&& = delete;
  // One element, unchecked, by value.
  T operator[](std::size_t index) const { return data()[index]; }
  // The elements [begin, end), in the same memory; the whole block lives as long as the slice.
  // Throws Error when out of range.
  Array Slice(std::size_t begin, std::size_t end) const {
    if (begin > end || end > size()) detail::ThrowOutOfRange(begin, end, size());
    Array slice = *this;
    slice.list_.count = end - begin;
    slice.list_.data += begin * sizeof(T);
    slice.list_.loc.offset += begin * sizeof(T);
    return slice;
  }

 private:
  static_assert(detail::kIsRaw<T>,
                "sheaf: Array<T> holds plain values only: numbers, enums, std::array and structs of these; "
                "use std::vector<T> for anything else");
  static_assert(alignof(T) <= 64, "sheaf: Array<T> is aligned to 64 bytes at most");
  friend struct detail::ArrayAccess;
  explicit Array(detail::RawList&& list) : list_(std::move(list)) {}

  detail::RawList list_;
};

// A private, writable array. Seal() turns it into an Array without a copy; dropped unsealed, it is freed.
template <class T>
class ArrayBuilder {
 public:
  // `size` elements of unspecified value: write every one. Throws OutOfMemoryError.
  explicit ArrayBuilder(std::size_t size) : size_(size) {
    static_assert(detail::kIsRaw<T>, "sheaf: ArrayBuilder<T> holds plain values only");
    if (size > PTRDIFF_MAX / sizeof(T)) detail::ThrowArrayTooLarge(size, sizeof(T));
    if (size) block_.emplace(size * sizeof(T));
  }
  // `size` elements equal to `value`.
  ArrayBuilder(std::size_t size, const T& value) : ArrayBuilder(size) {
    for (T& element : span()) element = value;
  }

  std::size_t size() const { return size_; }
  std::span<T> span() & { return {block_ ? reinterpret_cast<T*>(block_->data()) : nullptr, size_}; }
  std::span<T> span() && = delete;
  Array<T> Seal() && {
    if (!block_) return {};
    detail::Block block = std::move(*block_).Seal();
    block_.reset();
    const std::uint64_t count = std::exchange(size_, 0);
    return detail::ArrayAccess::Make<T>({std::move(block.pin), block.data, count, block.loc, true});
  }

 private:
  std::optional<detail::WritableBlock> block_;
  std::size_t size_;
};

}  // namespace sheaf
