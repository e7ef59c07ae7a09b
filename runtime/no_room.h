// What a process says when the store has no room for it.
#pragma once

#include <cstdint>
#include <string>

#include "runtime/context.h"

namespace sheaf::runtime {

// How this machine calls itself.
std::string MachineName();
// Names machine and budget, as the task may run far from who reads this. `what` needs `bytes`: "a block", "the result".
std::string NoRoomFor(Context& context, const std::string& what, std::uint64_t bytes);

}  // namespace sheaf::runtime
