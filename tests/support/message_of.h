// What a call complains of.
#pragma once

#include <functional>
#include <string>

#include "sheaf/error.h"

namespace sheaf::test {

inline std::string MessageOf(const std::function<void()>& f) {
  try {
    f();
  } catch (const sheaf::Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

}  // namespace sheaf::test
