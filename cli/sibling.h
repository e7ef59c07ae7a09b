// The executables beside this one: users only ever type `sheaf`.
#pragma once

namespace sheaf::cli {

// Replaces the process by `name`, which lies beside this executable or in ../libexec/sheaf. Complains and ends if it does not.
[[noreturn]] void BecomeSibling(const char* name, char* const* arguments);

}  // namespace sheaf::cli
