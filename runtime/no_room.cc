#include "runtime/no_room.h"

#include <unistd.h>

#include "base/byte_size.h"

namespace sheaf::runtime {

std::string MachineName() {
  char name[65] = {};
  gethostname(name, sizeof name - 1);
  return name;
}

std::string NoRoomFor(Context& context, const std::string& what, std::uint64_t bytes) {
  const std::string store = "the store of the pool on " + MachineName();
  const std::string budget = FormatByteSize(context.budget_bytes);
  if (bytes > context.budget_bytes)
    return what + " of " + FormatByteSize(bytes) + " is larger than all of " + store + ", whose budget is " + budget +
           ". Divide it, or start the pool with a larger --store";
  return "no room for " + what + " of " + FormatByteSize(bytes) + ": the budget of " + store + ", " + budget +
         ", is spent; this process holds " + FormatByteSize(context.heap().live_bytes()) +
         " of it. Drop refs that are no longer needed, or start the pool with a larger --store";
}

}  // namespace sheaf::runtime
