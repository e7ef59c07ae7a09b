// Stored forms: which types are interchangeable once they are stored, and the mark by which a reader knows.
//
// std::vector<T>, std::span<const T> and Array<T> share one form, so a producer and its consumer
// choose freely; strings are lists of characters. Every stored value begins with the 32-bit mark of
// its form (refs, tuples and void excepted), so that a value read as something else is a
// TypeMismatchError and not garbage.
//
// Standard library only: users compile this file.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <typeinfo>

#include "sheaf/detail/raw.h"

namespace sheaf::detail {

template <class E>
struct ListForm {};
template <class T>
struct RefForm {};

template <class T>
struct FormOf {
  using Type = T;
};
template <class T>
  requires kIsList<T>
struct FormOf<T> {
  using Type = ListForm<typename FormOf<typename ListTraits<T>::Element>::Type>;
};
template <class T>
struct FormOf<ObjectRef<T>> {
  using Type = RefForm<typename FormOf<T>::Type>;
};
template <class T>
using Form = typename FormOf<std::remove_cvref_t<T>>::Type;

template <class A, class B>
concept SameStoredForm = std::same_as<Form<A>, Form<B>>;

constexpr std::uint64_t Fnv1a(std::string_view bytes, std::uint64_t hash = 0xcbf29ce484222325u) {
  for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash;
}

// Remembers the name of a form for error messages; returns the form's mark.
std::uint32_t RegisterForm(const std::type_info& form);
[[noreturn]] void ThrowTypeMismatch(std::uint32_t wanted, std::uint32_t found);
// "the stored bytes are damaged: <what>"
[[noreturn]] void ThrowDamaged(const char* what);

template <class F>
struct FormMark {
  static const std::uint32_t kMark;
};
template <class F>
const std::uint32_t FormMark<F>::kMark = RegisterForm(typeid(F));
template <class T>
std::uint32_t MarkOf() {
  return FormMark<Form<T>>::kMark;
}

}  // namespace sheaf::detail
