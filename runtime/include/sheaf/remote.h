// Remote<F>(args...): calls F in a worker and returns a ref on its result at once.
//
//   ObjectRef<int> sum = Remote<Add>(1, 2);
//   ObjectRef<int> more = Remote<Add>(sum, 3);                        // waits for sum in the worker
//   auto [weights, loss] = Remote<Train>(batch);                      // a tuple: one ref each
//   Task<Train>({.cpus = 2, .retries = 0}).Remote(batch);
//   Task<Render>({.resources = {{"gpu", 1}}, .labels = {{"zone", "a"}}}).Remote(scene);
//   Remote<Overload<double(double)>(Area)>(2.0);
//
// F is a function, a static member function or a captureless lambda. Arguments are captured before
// the call returns. Each is a value, converted here, or a ref on a value of the same stored form.
// Default arguments must be given. Parameters std::span<const T>, std::string_view and Array<T> are
// read in place; others are decoded into copies. Throws OutOfMemoryError, and Error for a ref that
// is empty; waits only when the queues are full.
// Thread-safety: from any thread after Init().
//
// Standard library only: users compile this file.
#pragma once

#include <string>
#include <type_traits>
#include <utility>

#include "sheaf/detail/abi.h"
#include "sheaf/detail/function.h"
#include "sheaf/object_ref.h"
#include "sheaf/options.h"

namespace sheaf {

// Calls F with parameters P; a type that names them, so that braces and conversions work as in a plain call.
template <auto F, class S>
class Caller;
template <auto F, class R, class... P>
class Caller<F, detail::Signature<R, P...>> {
 public:
  using Ref = ObjectRef<std::remove_cvref_t<R>>;

  Ref operator()(Arg<std::remove_cvref_t<P>>... arguments) const { return Submit({}, arguments...); }
  // Too few arguments: say why, where a list of failed candidates would not.
  template <class... V>
    requires(sizeof...(V) < sizeof...(P))
  Ref operator()(V&&...) const {
    static_assert(sizeof...(V) == sizeof...(P),
                  "sheaf: Remote<F> needs every argument: default arguments of F are not seen "
                  "through a pointer");
    return {};
  }

 protected:
  static Ref Submit(const detail::SubmitOptions& options, const Arg<std::remove_cvref_t<P>>&... arguments) {
    if constexpr ((detail::CheckParameter<P>() && ... && detail::CheckResult<R>())) {
      detail::Encoder encoder;
      (arguments.WriteTo(encoder), ...);
      return detail::RefAccess::Make<std::remove_cvref_t<R>>(
          detail::Submit(detail::Registered<F>::kIndex, encoder, options));
    }
  }
};

// Remote<F> with options; what Task<F>(options) returns.
template <auto F, class S>
class TaskWith;
template <auto F, class R, class... P>
class TaskWith<F, detail::Signature<R, P...>> : Caller<F, detail::Signature<R, P...>> {
 public:
  using Ref = ObjectRef<std::remove_cvref_t<R>>;

  explicit TaskWith(TaskOptions options) : options_(std::move(options)), needs_(detail::NeedsText(options_)) {}
  Ref Remote(Arg<std::remove_cvref_t<P>>... arguments) const {
    detail::SubmitOptions options;
    options.name = options_.name;
    options.cpus = options_.cpus.value;
    options.retries = options_.retries;
    options.needs = needs_;
    return this->Submit(options, arguments...);
  }

 private:
  TaskOptions options_;
  std::string needs_;
};

template <auto F>
inline constexpr Caller<F, detail::TaskSignature<F>> Remote{};

template <auto F>
TaskWith<F, detail::TaskSignature<F>> Task(TaskOptions options) {
  return TaskWith<F, detail::TaskSignature<F>>(std::move(options));
}

// Picks one of several functions of a name: Overload<int(int)>(f).
template <class S>
constexpr S* Overload(S* function) {
  return function;
}

// OnWorkerStart<F>(args...): runs F in every worker of this job before its first task. Workers
// never run main, so this is where flags and globals that tasks read are set. Call it before the first task.
template <auto F, class S>
class StartCaller;
template <auto F, class R, class... P>
class StartCaller<F, detail::Signature<R, P...>> {
 public:
  void operator()(Arg<std::remove_cvref_t<P>>... arguments) const {
    static_assert(std::is_void_v<R>, "sheaf: OnWorkerStart<F> needs a function that returns void");
    if constexpr ((detail::CheckParameter<P>() && ... && std::is_void_v<R>)) {
      detail::Encoder encoder;
      (arguments.WriteTo(encoder), ...);
      detail::OnWorkerStart(detail::Registered<F>::kIndex, encoder);
    }
  }
};
template <auto F>
inline constexpr StartCaller<F, detail::TaskSignature<F>> OnWorkerStart{};

// Stores a value and returns a ref on it. Views and string literals are stored as Array and
// std::string. Throws OutOfMemoryError.
template <class T>
auto Put(const T& value) {
  using Owner = typename detail::OwnerOf<T>::Type;
  static_assert(!detail::kIsRef<Owner>, "sheaf: this is a ref already");
  detail::Encoder encoder;
  if constexpr (std::is_array_v<T>) {
    detail::Store<std::string_view>(encoder, value);
  } else {
    detail::Store(encoder, value);
  }
  return detail::RefAccess::Make<Owner>(detail::PutStored(encoder));
}

}  // namespace sheaf
