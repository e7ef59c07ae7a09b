// Which types are plain bytes, and which of the standard's families a type belongs to.
//
// Raw means: every bit pattern that a process wrote is a value in another process of the same
// program. Trivially copyable alone is not enough: it admits pointers, views and closures.
//
// Standard library only: users compile this file.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "sheaf/detail/fields.h"

namespace sheaf {
template <class T>
class Array;
template <class T>
class ObjectRef;
class Writer;
class Reader;
// Specialised by users; see sheaf/serializer.h.
template <class T>
struct Serializer;
}  // namespace sheaf

namespace sheaf::detail {

template <class T>
concept HasSerializer = requires(Writer& writer, const T& value) { Serializer<T>::Write(writer, value); };
template <class T>
concept HasFields = requires(T& value) { T::Fields(value); };
template <class T>
concept HasOwnForm = HasSerializer<T> || HasFields<T>;

template <class T, template <class...> class Family>
inline constexpr bool kIs = false;
template <template <class...> class Family, class... A>
inline constexpr bool kIs<Family<A...>, Family> = true;

template <class T>
inline constexpr bool kIsRef = kIs<T, ObjectRef>;
template <class T>
struct RefTraits {};
template <class T>
struct RefTraits<ObjectRef<T>> {
  using Value = T;
};
template <class T>
inline constexpr bool kIsTuple = kIs<T, std::tuple>;

template <class T>
inline constexpr bool kIsStdArray = false;
template <class E, std::size_t N>
inline constexpr bool kIsStdArray<std::array<E, N>> = true;
template <class T>
inline constexpr bool kIsSpan = false;
template <class E, std::size_t N>
inline constexpr bool kIsSpan<std::span<E, N>> = true;
// Types that point at bytes which somebody else keeps alive.
template <class T>
inline constexpr bool kIsView = kIsSpan<T> || kIs<T, std::basic_string_view>;

template <class T>
consteval bool IsRaw();
template <class... T>
consteval bool AllRaw(TypeList<T...>) {
  return (IsRaw<T>() && ...);
}
template <class T>
consteval bool IsRaw() {
  if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T>) {
    return true;
  } else if constexpr (HasOwnForm<T> || !std::is_trivially_copyable_v<T>) {
    return false;
  } else if constexpr (kIsStdArray<T>) {
    return IsRaw<typename T::value_type>();
  } else if constexpr (requires(T v) {
                         typename T::value_type;
                         v.real();
                         v.imag();
                       }) {
    return std::is_arithmetic_v<typename T::value_type>;  // std::complex
  } else if constexpr (std::is_class_v<T> && std::is_aggregate_v<T> && !std::is_empty_v<T>) {
    if constexpr (kHasPlainFields<T>) {
      return AllRaw(FieldTypes<T>{});
    } else {
      return false;
    }
  } else {
    return false;
  }
}
template <class T>
inline constexpr bool kIsRaw = IsRaw<std::remove_cv_t<T>>();

// A run of elements with a count in front: vectors, strings, Array, and the views of them.
template <class T>
struct ListTraits {
  static constexpr bool kIsList = false;
};
template <class E>
struct ListOfElement {
  static constexpr bool kIsList = true;
  using Element = std::remove_cv_t<E>;
};
template <class E, class A>
struct ListTraits<std::vector<E, A>> : ListOfElement<E> {};
template <class C, class R, class A>
struct ListTraits<std::basic_string<C, R, A>> : ListOfElement<C> {};
template <class C, class R>
struct ListTraits<std::basic_string_view<C, R>> : ListOfElement<C> {};
template <class E>
struct ListTraits<std::span<E>> : ListOfElement<E> {};
template <class E>
struct ListTraits<Array<E>> : ListOfElement<E> {};
template <class T>
inline constexpr bool kIsList = ListTraits<T>::kIsList;

// std::chrono's durations and points in time.
template <class T>
concept DurationLike = requires(const T& v) {
  typename T::rep;
  typename T::period;
  v.count();
};
template <class T>
concept TimePointLike = requires(const T& v) {
  typename T::clock;
  typename T::duration;
  v.time_since_epoch();
};
// A generated Protobuf message, recognised by its shape: no header of Protobuf is needed here.
template <class T>
concept MessageLike = requires(const T& v, T& out, void* to) {
  v.ByteSizeLong();
  v.SerializeToArray(to, 1);
  { out.ParseFromArray(to, 1) } -> std::same_as<bool>;
};
// Containers of the standard library and those shaped like them (deque, list, set, map, unordered_map, ...).
template <class T>
concept ContainerLike = requires(T& c, const T& v, typename T::value_type e) {
  requires !std::same_as<typename T::value_type, T>;
  v.begin() != v.end();
  v.size();
  c.clear();
} && (requires(T& c, typename T::value_type e) { c.push_back(std::move(e)); } ||
      requires(T& c, typename T::value_type e) { c.emplace_hint(c.end(), std::move(e)); });

// The element as it is read: a map's pairs lose the const of their key.
template <class E>
struct ReadableElement {
  using Type = std::remove_cv_t<E>;
};
template <class A, class B>
struct ReadableElement<std::pair<A, B>> {
  using Type = std::pair<std::remove_cv_t<A>, B>;
};

}  // namespace sheaf::detail
