// ObjectRef<T>: a handle on a value that may not exist yet, wherever in the pool it lies.
//
// 16 bytes; copying one costs a local count. The value lives as long as a ref on it does, in any
// process. Refs can be nested in values, passed to tasks and returned. Dropping a ref neither
// cancels its task nor waits for it. A ref kept after Shutdown() is inert.
// Thread-safety: as std::shared_ptr<const T>.
//
// Standard library only: users compile this file.
#pragma once

#include <cstddef>
#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>

#include "sheaf/detail/abi.h"
#include "sheaf/detail/form.h"
#include "sheaf/detail/stored.h"

namespace sheaf::detail {

[[noreturn]] void ThrowNestedElement();
// ThrowStored, with the pin that what the exception holds will need.
[[noreturn]] void ThrowError(const Stored& stored);

// What a value of type T is kept as: views and string literals become what owns their bytes.
template <class T>
struct OwnerOf {
  using Type = std::remove_cvref_t<T>;
};
template <class E>
struct OwnerOf<std::span<E>> {
  using Type = Array<std::remove_cv_t<E>>;
};
template <class C, class R>
struct OwnerOf<std::basic_string_view<C, R>> {
  using Type = std::basic_string<C, R>;
};
template <std::size_t N>
struct OwnerOf<char[N]> {
  using Type = std::string;
};

}  // namespace sheaf::detail

namespace sheaf {

template <class T>
class ObjectRef {
 public:
  ObjectRef() = default;  // refers to nothing: Get() throws Error

  // Waits for the value and returns it; for handles (Array, ml::Tensor, ...) nothing is copied.
  // Rethrows what the task threw (TaskError, or the user's type if it was registered); throws
  // TimeoutError after `timeout`, ObjectLostError, WorkerDiedError and PoolLostError.
  T Get(Duration timeout = kForever) const {
    if (!core_.pin) detail::ThrowEmptyRef();
    detail::Stored stored = detail::Fetch(core_, timeout);
    if (stored.error) detail::ThrowError(stored);
    if constexpr (!std::is_void_v<T>) return detail::DecodeStored<T>(std::move(stored));
  }
  // Whether Get() would return, or throw the task's error, at once.
  bool Ready() const {
    if (!core_.pin) detail::ThrowEmptyRef();
    return detail::IsReady(core_);
  }
  // Calls `f` once when the value is ready, at once or on a thread of the runtime. `f` must not
  // block; to go on with work, submit a task with this ref as argument.
  void OnReady(std::function<void()> f) const {
    if (!core_.pin) detail::ThrowEmptyRef();
    detail::CallWhenReady(core_, std::move(f));
  }
  // The same value as another type of the same stored form, e.g. Array<float> for std::vector<float>.
  template <class U>
  ObjectRef<U> As() const {
    static_assert(detail::SameStoredForm<T, U>,
                  "sheaf: As<U>() needs a type with the same stored form (std::vector<E>, Array<E>)");
    return detail::RefAccess::Make<U>(core_);
  }
  explicit operator bool() const { return static_cast<bool>(core_.pin); }

 private:
  static_assert(!std::is_reference_v<T> && !std::is_const_v<T>, "sheaf: ObjectRef<T> takes a plain type");
  static_assert(!std::is_pointer_v<T>, "sheaf: a pointer means nothing in another process; store the value itself");
  static_assert(!detail::kIsView<T>,
                "sheaf: a view cannot be stored or returned: its bytes would not live long enough; "
                "use Array<T>, std::vector<T> or std::string");
  friend struct detail::RefAccess;

  detail::RefCore core_;
};

// One element of a tuple, as a ref of its own: auto [weights, loss] = Remote<Train>(batch);
template <std::size_t I, class... T>
ObjectRef<std::tuple_element_t<I, std::tuple<T...>>> get(const ObjectRef<std::tuple<T...>>& ref) {
  const detail::RefCore& core = detail::RefAccess::Core(ref);
  if (!core.pin) detail::ThrowEmptyRef();
  if (core.element != detail::kWhole) detail::ThrowNestedElement();
  return detail::RefAccess::Make<std::tuple_element_t<I, std::tuple<T...>>>({core.pin, I});
}

}  // namespace sheaf

template <class... T>
struct std::tuple_size<sheaf::ObjectRef<std::tuple<T...>>> : std::integral_constant<std::size_t, sizeof...(T)> {};
template <std::size_t I, class... T>
struct std::tuple_element<I, sheaf::ObjectRef<std::tuple<T...>>> {
  using type = sheaf::ObjectRef<std::tuple_element_t<I, std::tuple<T...>>>;
};
