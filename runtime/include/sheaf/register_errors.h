// RegisterErrors<E...>(): exceptions that cross processes as themselves.
//
//   const bool kRegistered = sheaf::RegisterErrors<NoSuchPage, std::out_of_range>();  // at namespace scope
//
// Call it where every worker passes: in an initialiser at namespace scope, for workers do not run
// main. The exact type is matched, so that nothing is sliced. A type that can be sent is sent
// whole; an exception of std that has a constructor from std::string is rebuilt from its message.
//
// Standard library only: users compile this file.
#pragma once

#include <exception>
#include <string>
#include <type_traits>
#include <typeinfo>
#include <utility>

#include "sheaf/detail/abi.h"
#include "sheaf/detail/stored.h"
#include "sheaf/error.h"

namespace sheaf::detail {

// The user's exception as Get() throws it.
template <class E>
struct WithTask : E, TaskInfo {
  WithTask(E error, TaskInfo info) : E(std::move(error)), TaskInfo(std::move(info)) {}
};

struct ErrorType {
  const std::type_info* thrown;   // E
  const std::type_info* arrived;  // WithTask<E>: thrown on by a task that did not catch it
  void (*write)(Encoder& to);     // the exception in flight
  void (*raise)(Decoder& from, TaskInfo info);
};
void RegisterErrorType(const ErrorType& type);

template <class E>
consteval bool CheckError() {
  constexpr bool kMixes = std::is_class_v<E> && !std::is_final_v<E>;
  static_assert(kMixes, "sheaf: RegisterErrors needs classes that are not final: a TaskInfo is mixed into them");
  constexpr bool kPlain = !std::is_base_of_v<TaskInfo, E>;
  static_assert(kPlain, "sheaf: this error already carries its TaskInfo");
  return kMixes && kPlain;
}

template <class E>
struct ErrorForm {
  static constexpr bool kByMessage = std::is_base_of_v<std::exception, E> && !HasOwnForm<E>;
  static_assert(!kByMessage || std::is_constructible_v<E, const std::string&>,
                "sheaf: a registered exception needs a constructor from std::string, Fields() or a "
                "Serializer");

  static void WriteInFlight(Encoder& to) {
    try {
      throw;
    } catch (const E& error) {
      if constexpr (!kByMessage) Write<E>(to, error);
    }
  }
  static void Raise(Decoder& from, TaskInfo info) {
    if constexpr (kByMessage) {
      E error(std::as_const(info.message));
      throw WithTask<E>(std::move(error), std::move(info));
    } else {
      E error = Read<E>(from);
      throw WithTask<E>(std::move(error), std::move(info));
    }
  }
};

}  // namespace sheaf::detail

namespace sheaf {

// Thread-safe. Returns true, so that it can initialise something.
template <class... E>
bool RegisterErrors() {
  if constexpr ((detail::CheckError<E>() && ...)) {
    (detail::RegisterErrorType({&typeid(E), &typeid(detail::WithTask<E>), &detail::ErrorForm<E>::WriteInFlight,
                                &detail::ErrorForm<E>::Raise}),
     ...);
  }
  return true;
}

}  // namespace sheaf
