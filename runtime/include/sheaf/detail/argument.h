// One argument of a call, and the parameter it becomes on the other side.
//
// Arg<P> takes what P can be made of: a value that converts to P, a value of the same stored form
// (an Array for a span: nothing is copied), a ref on either (awaited and read by the worker), a
// vector of refs for a vector. In the payload each argument begins with a tag: 0 the value follows;
// 1 the index of a dependency; 2 a count and the indices of dependencies.
// Standard library only: users compile this file.
#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "sheaf/detail/abi.h"
#include "sheaf/detail/stored.h"
#include "sheaf/object_ref.h"

namespace sheaf::detail {

enum ArgumentTag : std::uint8_t { kValueTag = 0, kRefTag = 1, kRefListTag = 2 };

// How often a ref must be followed beyond its first value until it yields a P; -1: never.
template <class V, class P>
consteval int UnwrapDepth() {
  if constexpr (!kIsRef<V>) {
    return -1;
  } else if constexpr (std::is_void_v<typename RefTraits<V>::Value>) {
    return -1;
  } else if constexpr (SameStoredForm<typename RefTraits<V>::Value, P>) {
    return 0;
  } else {
    constexpr int kInner = UnwrapDepth<typename RefTraits<V>::Value, P>();
    return kInner < 0 ? -1 : kInner + 1;
  }
}
template <class V, class P>
concept RefTo = UnwrapDepth<V, P>() >= 0;

template <class V, class P>
inline constexpr bool kIsRefListFor = false;
template <class V, class A, class T, class B>
inline constexpr bool kIsRefListFor<std::vector<V, A>, std::vector<T, B>> = RefTo<V, T>;

// Passing a Derived for a Base would cut it.
template <class V, class P>
concept Slices = std::is_class_v<V> && std::is_class_v<P> && !std::same_as<V, P> && std::is_base_of_v<P, V>;
template <class V, class P>
concept ConvertsTo = std::convertible_to<V, P> && !Slices<std::remove_cvref_t<V>, P>;
// What cannot be copied is given up: std::move(owner).
template <class V>
concept Given = !std::is_lvalue_reference_v<V> || std::copy_constructible<std::remove_cvref_t<V>>;
template <class V, class P>
concept ArgumentFor = (SameStoredForm<V, P> && Given<V>) || RefTo<std::remove_cvref_t<V>, P> ||
                      kIsRefListFor<std::remove_cvref_t<V>, P> || ConvertsTo<V, P>;

// What {a, b, c} for a P is read as; a type that nobody can name where P is no list.
struct NoBraces {
  NoBraces() = delete;
};
template <class P>
struct BracesOf {
  using Element = NoBraces;
};
template <class P>
  requires std::constructible_from<P, std::initializer_list<typename P::value_type>>
struct BracesOf<P> {
  using Element = typename P::value_type;
};
template <class E>
struct BracesOf<std::span<const E>> {
  using Element = E;
};

inline void WriteRefArgument(Encoder& to, const RefCore& core, int unwrap) {
  if (!core.pin) ThrowEmptyRef();
  WriteRaw(to, to.Depend(core, static_cast<std::uint32_t>(unwrap)));
}

template <class V, class P>
void WriteArgument(Encoder& to, const void* from) {
  const V& value = *static_cast<const V*>(from);
  if constexpr (SameStoredForm<V, P>) {
    WriteRaw<std::uint8_t>(to, kValueTag);
    WriteWhole(to, value);
  } else if constexpr (RefTo<V, P>) {
    WriteRaw<std::uint8_t>(to, kRefTag);
    WriteRefArgument(to, RefAccess::Core(value), UnwrapDepth<V, P>());
  } else {
    WriteRaw<std::uint8_t>(to, kRefListTag);
    WriteRaw<std::uint64_t>(to, value.size());
    for (const auto& ref : value) {
      WriteRefArgument(to, RefAccess::Core(ref), UnwrapDepth<typename V::value_type, typename P::value_type>());
    }
  }
}

}  // namespace sheaf::detail

namespace sheaf {

// The argument for a parameter of type P. Lives until the call's full expression ends, and so does what it points to.
template <class P>
class Arg {
 public:
  template <class V>
    requires(!std::same_as<std::remove_cvref_t<V>, Arg> && detail::ArgumentFor<V, P>)
  Arg(V&& value) {
    using D = std::remove_cvref_t<V>;
    if constexpr (detail::SameStoredForm<D, P> || detail::RefTo<D, P> || detail::kIsRefListFor<D, P>) {
      Point<D>(value);
    } else {
      Point<P>(converted_.emplace(std::forward<V>(value)));
    }
  }
  // {}
  Arg()
    requires std::default_initializable<P>
  {
    Point<P>(converted_.emplace());
  }
  // {1, 2, 3} for a container or a span
  Arg(std::initializer_list<typename detail::BracesOf<P>::Element> elements) {
    if constexpr (detail::kIsSpan<P>) {
      Point<P>(converted_.emplace(elements.begin(), elements.size()));
    } else {
      Point<P>(converted_.emplace(elements));
    }
  }
  // {x, y} for a struct or a class
  template <class... V>
    requires(sizeof...(V) > 1 && (requires(V&&... v) { P{std::forward<V>(v)...}; } ||
                                  requires(V&&... v) { P(std::forward<V>(v)...); }))
  Arg(V&&... values) {
    if constexpr (requires { P{std::forward<V>(values)...}; }) {
      Point<P>(converted_.emplace(P{std::forward<V>(values)...}));
    } else {
      Point<P>(converted_.emplace(P(std::forward<V>(values)...)));
    }
  }
  Arg(const Arg&) = delete;
  Arg& operator=(const Arg&) = delete;

  void WriteTo(detail::Encoder& to) const { write_(to, value_); }

 private:
  template <class V>
  void Point(const V& value) {
    value_ = std::addressof(value);
    write_ = &detail::WriteArgument<V, P>;
  }

  const void* value_ = nullptr;
  void (*write_)(detail::Encoder&, const void*) = nullptr;
  std::optional<P> converted_;
};

}  // namespace sheaf

namespace sheaf::detail {

[[noreturn]] void ThrowBadArgument();
// To be taken: no two arguments share a dependency.
Stored&& DependencyAt(Arguments& arguments, std::uint32_t index);

// The value of the next argument.
template <class T>
T ReadArgument(Arguments& arguments) {
  const auto tag = ReadRaw<std::uint8_t>(arguments.payload);
  if (tag == kValueTag) return Read<T>(arguments.payload);
  if (tag == kRefTag) {
    return DecodeStored<T>(DependencyAt(arguments, ReadRaw<std::uint32_t>(arguments.payload)));
  }
  if constexpr (kIs<T, std::vector>) {
    if (tag == kRefListTag) {
      T list;
      const std::uint64_t count = ReadCount(arguments.payload);
      list.reserve(static_cast<std::size_t>(count));
      for (std::uint64_t i = 0; i < count; ++i) {
        const auto index = ReadRaw<std::uint32_t>(arguments.payload);
        list.push_back(DecodeStored<typename T::value_type>(DependencyAt(arguments, index)));
      }
      return list;
    }
  }
  ThrowBadArgument();
}

// Keeps what parameter P is passed from until the call has ended.
template <class P, class D = std::remove_cvref_t<P>>
struct Parameter {
  D value;
  explicit Parameter(Arguments& arguments) : value(ReadArgument<D>(arguments)) {}
  P Pass() {
    if constexpr (std::is_lvalue_reference_v<P>) {
      return value;
    } else {
      return static_cast<D&&>(value);
    }
  }
};
// Views are passed from the handle that owns their bytes.
template <class P, class E>
struct Parameter<P, std::span<const E>> {
  using Owner = std::conditional_t<kIsRaw<E>, Array<E>, std::vector<E>>;
  Owner owner;
  std::span<const E> value;
  explicit Parameter(Arguments& arguments) : owner(ReadArgument<Owner>(arguments)), value(owner) {}
  P Pass() {
    if constexpr (std::is_lvalue_reference_v<P>) {
      return value;
    } else {
      return static_cast<std::span<const E>&&>(value);
    }
  }
};
template <class P, class C, class R>
struct Parameter<P, std::basic_string_view<C, R>> {
  Array<C> owner;
  std::basic_string_view<C, R> value;
  explicit Parameter(Arguments& arguments)
      : owner(ReadArgument<Array<C>>(arguments)), value(owner.data(), owner.size()) {}
  P Pass() {
    if constexpr (std::is_lvalue_reference_v<P>) {
      return value;
    } else {
      return static_cast<std::basic_string_view<C, R>&&>(value);
    }
  }
};

}  // namespace sheaf::detail
