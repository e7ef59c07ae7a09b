// A C++ function as a task: its name, its signature, its entry in the table, and the code that runs it in a worker.
//
// Registered<F>::kIndex is initialised before main in every program that contains a call of
// Remote<F>: that is the registration. Workers run the same program, so the table is the same
// there.
//
// Standard library only: users compile this file.
#pragma once

#include <cstdint>
#include <string_view>
#include <type_traits>
#include <typeinfo>
#include <utility>

#include "sheaf/detail/abi.h"
#include "sheaf/detail/argument.h"
#include "sheaf/detail/stored.h"

namespace sheaf::detail {

// Stands for F where a type is needed: typeid(Task<F>).name() is F's mangled name.
template <auto F>
struct FunctionTag {};

template <class R, class... P>
struct Signature {
  using Result = std::remove_cvref_t<R>;
  using Decayed = Result(std::remove_cvref_t<P>...);
};
template <class>
inline constexpr bool kNever = false;

// The signature of a function pointer or of a captureless lambda.
template <class F>
struct SignatureOf {
  static_assert(kNever<F>,
                "sheaf: Remote<F> needs a function, a static member function or a captureless "
                "lambda that is not "
                "generic; pick an overload with Overload<R(P...)>(f)");
};
template <class F>
  requires requires { &F::operator(); }
struct SignatureOf<F> : SignatureOf<decltype(&F::operator())> {};
template <class C, class R, class... P>
struct SignatureOf<R (C::*)(P...) const> {
  using Type = Signature<R, P...>;
};
template <class C, class R, class... P>
struct SignatureOf<R (C::*)(P...) const noexcept> : SignatureOf<R (C::*)(P...) const> {};
template <class C, class R, class... P>
struct SignatureOf<R (C::*)(P...)> {
  static_assert(kNever<C>, "sheaf: Remote<F> takes no member functions that change their object");
};
template <class R, class... P>
struct SignatureOf<R (*)(P...)> {
  using Type = Signature<R, P...>;
};
template <class R, class... P>
struct SignatureOf<R (*)(P...) noexcept> : SignatureOf<R (*)(P...)> {};

// The texts a user reads when a function cannot be a task. The answer lets callers stop there, so
// that the text is not followed by what the compiler thinks of the consequences.
template <class P>
consteval bool CheckParameter() {
  using D = std::remove_cvref_t<P>;
  constexpr bool kKept = !std::is_lvalue_reference_v<P> || std::is_const_v<std::remove_reference_t<P>>;
  static_assert(kKept,
                "sheaf: a task cannot take T&: it would change a copy; take const T& and return the "
                "new value");
  constexpr bool kValue = !std::is_pointer_v<D>;
  static_assert(kValue,
                "sheaf: a task cannot take a pointer: it means nothing in another process; take a "
                "value, a span or a std::string_view");
  if constexpr (kIsSpan<D>) {
    constexpr bool kReadOnly = std::is_const_v<typename D::element_type>;
    static_assert(kReadOnly,
                  "sheaf: a task cannot take std::span<T>: arguments are read in place; take "
                  "std::span<const T>");
    constexpr bool kAnySize = D::extent == std::dynamic_extent;
    static_assert(kAnySize, "sheaf: a task takes spans without a fixed size only");
    return kKept && kReadOnly && kAnySize;
  }
  return kKept && kValue;
}
template <class R>
consteval bool CheckResult() {
  using D = std::remove_cvref_t<R>;
  constexpr bool kValue = !std::is_pointer_v<D>;
  static_assert(kValue,
                "sheaf: a task cannot return a pointer: it means nothing in another process; "
                "return the value");
  constexpr bool kOwner = !kIsView<D>;
  static_assert(kOwner,
                "sheaf: a task cannot return a view: its bytes would not live long enough; return "
                "Array<T>, std::vector<T> or std::string");
  return kValue && kOwner;
}

// All parameters of a call, made in order and kept until it ends.
template <std::size_t I, class P>
struct ParameterAt : Parameter<P> {
  using Parameter<P>::Parameter;
};
template <class Indices, class... P>
struct Parameters;
template <std::size_t... I, class... P>
struct Parameters<std::index_sequence<I...>, P...> : ParameterAt<I, P>... {
  explicit Parameters([[maybe_unused]] Arguments& arguments) : ParameterAt<I, P>(arguments)... {}
  template <auto F>
  decltype(auto) Call() {
    return F(static_cast<ParameterAt<I, P>&>(*this).Pass()...);
  }
};

template <auto F, class R, class... P>
void RunTask(Arguments& arguments, Encoder& result) {
  Parameters<std::index_sequence_for<P...>, P...> parameters(arguments);
  if constexpr (std::is_void_v<R>) {
    parameters.template Call<F>();
  } else {
    Store<std::remove_cvref_t<R>>(result, parameters.template Call<F>());
  }
}

template <auto F, class R, class... P>
Function MakeFunction(Signature<R, P...>*) {
  const std::string_view name = typeid(FunctionTag<F>).name();
  const std::string_view signature = typeid(typename Signature<R, P...>::Decayed).name();
  return {name, signature, Fnv1a(signature, Fnv1a(name)), &RunTask<F, R, P...>};
}
template <auto F>
using TaskSignature = typename SignatureOf<std::remove_const_t<decltype(F)>>::Type;

template <auto F>
struct Registered {
  static const std::uint32_t kIndex;
};
template <auto F>
const std::uint32_t Registered<F>::kIndex = RegisterFunction(MakeFunction<F>(static_cast<TaskSignature<F>*>(nullptr)));

}  // namespace sheaf::detail
