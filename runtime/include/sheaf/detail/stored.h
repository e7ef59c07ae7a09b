// How whole values are stored and decoded: what lies in front of what detail/codec.h writes.
//
//   void    nothing
//   ref     the record of the ref, alone at the start: the runtime follows it without knowing types
//   tuple   a table of u32 offsets from the payload's start, one for each element, then the elements, each
//           stored as a whole value of its own: so an element can be decoded alone
//   other   the u32 mark of its form, then the value
//
// Standard library only: users compile this file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "sheaf/detail/abi.h"
#include "sheaf/detail/codec.h"
#include "sheaf/detail/form.h"
#include "sheaf/serializer.h"

namespace sheaf::detail {

template <class T>
void Store(Encoder& to, const T& value);

template <class... E, std::size_t... I>
void StoreTuple(Encoder& to, const std::tuple<E...>& value, std::index_sequence<I...>) {
  const std::size_t begin = to.payload().size();
  to.Extend(4 * sizeof...(E));
  [[maybe_unused]] const auto store = [&](std::size_t index, const auto& element) {
    const auto offset = static_cast<std::uint32_t>(to.payload().size());
    // The encoder moves its bytes while it grows, so the table is found anew each time.
    std::memcpy(const_cast<std::byte*>(to.payload().data()) + begin + 4 * index, &offset, 4);
    Store(to, element);
  };
  (store(I, std::get<I>(value)), ...);
}

template <class T>
void Store(Encoder& to, const T& value) {
  if constexpr (kIsTuple<T>) {
    StoreTuple(to, value, std::make_index_sequence<std::tuple_size_v<T>>{});
  } else {
    if constexpr (!kIsRef<T>) WriteRaw(to, MarkOf<T>());
    WriteWhole(to, value);
  }
}

template <class T>
T Load(Decoder& from, std::size_t begin);

// Offset of element `index` of the tuple of `size` elements that begins at `begin`; checks the table.
std::size_t TupleOffset(Decoder& from, std::size_t begin, std::size_t index, std::size_t size);

template <class... E, std::size_t... I>
std::tuple<E...> LoadTuple([[maybe_unused]] Decoder& from, [[maybe_unused]] std::size_t begin,
                           std::type_identity<std::tuple<E...>>, std::index_sequence<I...>) {
  return std::tuple<E...>{Load<E>(from, TupleOffset(from, begin, I, sizeof...(E)))...};
}

template <class T>
T Load(Decoder& from, std::size_t begin) {
  from.Seek(begin);
  if constexpr (kIsTuple<T>) {
    return LoadTuple(from, begin, std::type_identity<T>{}, std::make_index_sequence<std::tuple_size_v<T>>{});
  } else {
    if constexpr (!kIsRef<T>) {
      const auto mark = ReadRaw<std::uint32_t>(from);
      if (mark != MarkOf<T>()) ThrowTypeMismatch(MarkOf<T>(), mark);
    }
    return Read<T>(from);
  }
}

// Takes the pin over: a count less on the way to every value.
template <class T>
T DecodeStored(Stored&& stored) {
  Decoder from(stored.payload, std::move(stored.pin));
  std::size_t begin = 0;
  if (stored.element != kWhole) begin = TupleOffset(from, 0, stored.element, 0);
  if constexpr (kIs<T, Array>) from.GivePin();
  return Load<T>(from, begin);
}

}  // namespace sheaf::detail
