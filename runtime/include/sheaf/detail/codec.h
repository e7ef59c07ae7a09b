// Write and Read: how a value becomes bytes and blocks, and comes back, for every type that can be sent.
//
// One function each, dispatching at compile time on what the type is: a user's own form
// (Serializer, Fields), raw bytes, lists, refs, the standard's families, containers, aggregates.
// Reading never trusts a count: it must fit the bytes that are left. Fields are read in order and
// never need a default constructor, except those of Fields().
//
// Standard library only: users compile this file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "sheaf/array.h"
#include "sheaf/detail/abi.h"
#include "sheaf/detail/form.h"

namespace sheaf::detail {

// The door between typed and untyped refs.
struct RefAccess {
  template <class T>
  static const RefCore& Core(const ObjectRef<T>& ref) {
    return ref.core_;
  }
  template <class T>
  static ObjectRef<T> Make(RefCore core) {
    ObjectRef<T> ref;
    ref.core_ = std::move(core);
    return ref;
  }
};
[[noreturn]] void ThrowEmptyRef();

template <class T>
void Write(Encoder& to, const T& value);
template <class T>
T Read(Decoder& from);
// sheaf/serializer.h
template <class T>
void WriteOwnForm(Encoder& to, const T& value);
template <class T>
T ReadOwnForm(Decoder& from);

template <class T>
void WriteRaw(Encoder& to, const T& value) {
  to.Raw(std::addressof(value), sizeof(T));
}
template <class T>
T ReadRaw(Decoder& from) {
  std::remove_cv_t<T> value;
  from.Raw(std::addressof(value), sizeof(T));
  return value;
}

// A count of things that take a byte each at least.
inline std::uint64_t ReadCount(Decoder& from) {
  const auto count = ReadRaw<std::uint64_t>(from);
  if (count > from.remaining()) ThrowDamaged("a count exceeds the bytes that follow");
  return count;
}

template <class T>
void WriteList(Encoder& to, const T& list) {
  using E = typename ListTraits<T>::Element;
  if constexpr (kIs<T, Array>) {
    WriteRawList(to, ArrayAccess::List(list), sizeof(E), alignof(E));
  } else if constexpr (std::is_same_v<E, bool>) {  // std::vector<bool> has no bytes to copy
    std::byte* out = NewRawList(to, list.size(), 1, 1);
    for (const bool bit : list) *out++ = std::byte{bit};
  } else if constexpr (kIsRaw<E>) {
    std::byte* out = NewRawList(to, list.size(), sizeof(E), alignof(E));
    if (!list.empty()) std::memcpy(out, list.data(), list.size() * sizeof(E));
  } else {
    WriteRaw<std::uint64_t>(to, list.size());
    for (const E& element : list) Write<E>(to, element);
  }
}

// What views point at is stored as a list; only whole values and arguments may be given as views.
template <class T>
void WriteWhole(Encoder& to, const T& value) {
  if constexpr (kIsView<T>) {
    WriteList(to, value);
  } else {
    Write(to, value);
  }
}

template <class T>
T ReadList(Decoder& from) {
  using E = typename ListTraits<T>::Element;
  if constexpr (kIs<T, Array>) {
    return ArrayAccess::Make<E>(TakeRawList(from, sizeof(E), alignof(E), true));
  } else if constexpr (kIsRaw<E>) {
    const RawList raw = TakeRawList(from, sizeof(E), alignof(E), false);
    const auto count = static_cast<std::size_t>(raw.count);
    if constexpr (std::is_same_v<E, bool>) {
      T list(count, false);
      for (std::size_t i = 0; i < count; ++i) list[i] = raw.data[i] != std::byte{0};
      return list;
    } else {
      // Elements of a block are aligned to 64 bytes, those of a payload to 16 where the payload is: copy by bytes.
      if (reinterpret_cast<std::uintptr_t>(raw.data) % alignof(E) == 0) {
        const E* first = reinterpret_cast<const E*>(raw.data);
        return T(first, first + count);
      }
      T list;
      list.reserve(count);
      Decoder elements({raw.data, count * sizeof(E)}, {});
      for (std::size_t i = 0; i < count; ++i) list.push_back(ReadRaw<E>(elements));
      return list;
    }
  } else {
    T list;
    const std::uint64_t count = ReadCount(from);
    list.reserve(static_cast<std::size_t>(count));
    for (std::uint64_t i = 0; i < count; ++i) list.push_back(Read<E>(from));
    return list;
  }
}

template <class T, std::size_t... I>
T ReadStdArray(Decoder& from, std::index_sequence<I...>) {
  return T{{(static_cast<void>(I), Read<typename T::value_type>(from))...}};
}
template <class... E>
std::tuple<E...> ReadTuple(Decoder& from, std::type_identity<std::tuple<E...>>) {
  return std::tuple<E...>{Read<E>(from)...};  // braces: in order
}
template <class T, class... F>
T ReadAggregate(Decoder& from, TypeList<F...>) {
  return T{Read<F>(from)...};
}
template <class V, std::size_t I>
V ReadAlternative(Decoder& from) {
  return V(std::in_place_index<I>, Read<std::variant_alternative_t<I, V>>(from));
}
template <class V, std::size_t... I>
V ReadVariant(Decoder& from, std::index_sequence<I...>) {
  constexpr V (*kReaders[])(Decoder&) = {&ReadAlternative<V, I>...};
  const auto index = ReadRaw<std::uint8_t>(from);
  if (index >= sizeof...(I)) ThrowDamaged("a variant has no such alternative");
  return kReaders[index](from);
}

// The texts a user reads when a type cannot be sent: one each.
template <class T>
constexpr void ExplainWhyNotSendable() {
  constexpr bool kPointer = std::is_pointer_v<T> || std::is_null_pointer_v<T>;
  static_assert(!kPointer,
                "sheaf: a pointer means nothing in another process; send the value itself, or a "
                "std::unique_ptr");
  static_assert(!kIsView<T>,
                "sheaf: a view cannot be stored or returned: its bytes would not live long enough; "
                "use Array<T>, std::vector<T> or std::string");
  constexpr bool kCArray = std::is_array_v<T>;
  static_assert(!kCArray, "sheaf: C arrays cannot be sent; use std::array");
  constexpr bool kOther = !kPointer && !kIsView<T> && !kCArray;
  static_assert(!kOther || !std::is_aggregate_v<T>,
                "sheaf: this struct has a base class, a C array or more than 32 fields and cannot be "
                "taken apart; give it: static auto Fields(auto& self) { return std::tie(self.a, "
                "self.b); }");
  static_assert(!kOther || std::is_aggregate_v<T>,
                "sheaf: this type cannot be sent as it is; give it: static auto Fields(auto& self) { "
                "return std::tie(self.a_, self.b_); } or specialise sheaf::Serializer<T>");
}

template <class T>
void Write(Encoder& to, const T& value) {
  if constexpr (HasOwnForm<T>) {
    WriteOwnForm<T>(to, value);
  } else if constexpr (kIsRaw<T>) {
    WriteRaw(to, value);
  } else if constexpr (kIsRef<T>) {
    if (!value) ThrowEmptyRef();
    to.AddRef(RefAccess::Core(value));
  } else if constexpr (kIsView<T>) {
    ExplainWhyNotSendable<T>();
  } else if constexpr (kIsList<T>) {
    WriteList(to, value);
  } else if constexpr (kIs<T, std::optional> || kIs<T, std::unique_ptr>) {
    if constexpr (kIs<T, std::unique_ptr>) {
      using E = typename T::element_type;
      static_assert(!std::is_polymorphic_v<E> || HasOwnForm<E>,
                    "sheaf: a std::unique_ptr to a polymorphic type would lose the derived part; "
                    "use std::variant or specialise sheaf::Serializer");
      static_assert(std::is_same_v<T, std::unique_ptr<E>>, "sheaf: no custom deleters");
    }
    WriteRaw<std::uint8_t>(to, static_cast<bool>(value));
    if (value) Write(to, *value);
  } else if constexpr (kIs<T, std::variant>) {
    static_assert(std::variant_size_v<T> < 255, "sheaf: a variant may have 254 alternatives");
    WriteRaw(to, static_cast<std::uint8_t>(value.index()));
    std::visit([&to](const auto& alternative) { Write(to, alternative); }, value);
  } else if constexpr (kIsStdArray<T>) {
    for (const auto& element : value) Write(to, element);
  } else if constexpr (kIs<T, std::pair>) {
    Write(to, value.first);
    Write(to, value.second);
  } else if constexpr (kIsTuple<T>) {
    std::apply([&to](const auto&... element) { (Write(to, element), ...); }, value);
  } else if constexpr (TimePointLike<T>) {
    Write(to, value.time_since_epoch());
  } else if constexpr (DurationLike<T>) {
    Write(to, value.count());
  } else if constexpr (MessageLike<T>) {
    const auto size = static_cast<std::size_t>(value.ByteSizeLong());
    if (!value.SerializeToArray(NewRawList(to, size, 1, 1), static_cast<int>(size))) {
      ThrowDamaged("a Protobuf message lacks required fields");
    }
  } else if constexpr (ContainerLike<T>) {
    WriteRaw<std::uint64_t>(to, value.size());
    for (const auto& element : value) Write(to, element);
  } else if constexpr (std::is_class_v<T> && std::is_empty_v<T> && std::is_aggregate_v<T>) {
    WriteRaw<std::uint8_t>(to, 0);  // every value takes a byte, so that counts can be checked
  } else if constexpr (std::is_class_v<T> && std::is_aggregate_v<T>) {
    if constexpr (kHasPlainFields<T>) {
      WithFields(value, [&to](const auto&... field) { (Write(to, field), ...); });
    } else {
      ExplainWhyNotSendable<T>();
    }
  } else {
    ExplainWhyNotSendable<T>();
  }
}

template <class T>
T Read(Decoder& from) {
  if constexpr (HasOwnForm<T>) {
    return ReadOwnForm<T>(from);
  } else if constexpr (kIsRaw<T>) {
    return ReadRaw<T>(from);
  } else if constexpr (kIsRef<T>) {
    return RefAccess::Make<typename RefTraits<T>::Value>(from.TakeRef());
  } else if constexpr (kIsView<T>) {
    ExplainWhyNotSendable<T>();
  } else if constexpr (kIsList<T>) {
    return ReadList<T>(from);
  } else if constexpr (kIs<T, std::optional>) {
    if (!ReadRaw<std::uint8_t>(from)) return {};
    return T(std::in_place, Read<typename T::value_type>(from));
  } else if constexpr (kIs<T, std::unique_ptr>) {
    if (!ReadRaw<std::uint8_t>(from)) return {};
    return T(new typename T::element_type(Read<typename T::element_type>(from)));
  } else if constexpr (kIs<T, std::variant>) {
    return ReadVariant<T>(from, std::make_index_sequence<std::variant_size_v<T>>{});
  } else if constexpr (kIsStdArray<T>) {
    return ReadStdArray<T>(from, std::make_index_sequence<std::tuple_size_v<T>>{});
  } else if constexpr (kIs<T, std::pair>) {
    return T{Read<std::remove_cv_t<typename T::first_type>>(from),
             Read<std::remove_cv_t<typename T::second_type>>(from)};
  } else if constexpr (kIsTuple<T>) {
    return ReadTuple(from, std::type_identity<T>{});
  } else if constexpr (TimePointLike<T>) {
    return T(Read<typename T::duration>(from));
  } else if constexpr (DurationLike<T>) {
    return T(Read<typename T::rep>(from));
  } else if constexpr (MessageLike<T>) {
    const RawList bytes = TakeRawList(from, 1, 1, false);
    T message;
    if (!message.ParseFromArray(bytes.data, static_cast<int>(bytes.count))) {
      ThrowDamaged("a Protobuf message does not parse");
    }
    return message;
  } else if constexpr (ContainerLike<T>) {
    using E = typename ReadableElement<typename T::value_type>::Type;
    T container;
    for (std::uint64_t left = ReadCount(from); left; --left) {
      if constexpr (requires(E element) { container.push_back(std::move(element)); }) {
        container.push_back(Read<E>(from));
      } else {
        container.emplace_hint(container.end(), Read<E>(from));
      }
    }
    return container;
  } else if constexpr (std::is_class_v<T> && std::is_empty_v<T> && std::is_aggregate_v<T>) {
    ReadRaw<std::uint8_t>(from);
    return T{};
  } else if constexpr (std::is_class_v<T> && std::is_aggregate_v<T>) {
    if constexpr (kHasPlainFields<T>) {
      return ReadAggregate<T>(from, FieldTypes<T>{});
    } else {
      ExplainWhyNotSendable<T>();
    }
  } else {
    ExplainWhyNotSendable<T>();
  }
}

}  // namespace sheaf::detail
