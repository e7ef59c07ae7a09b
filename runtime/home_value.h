// What lies behind a home or completion slot: small payloads in the slot itself, larger ones in a block of this process's.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/context.h"
#include "runtime/roots.h"

namespace sheaf::runtime {

struct HomeValue {
  std::uint32_t flags = 0, size = 0;
  PayloadCopy payload{};
  std::vector<Pin> holds;  // what the payload names, and the block it lies in
};

// Takes what `value` holds. `flags`: those that are known already. Without memory it becomes an OutOfMemoryError.
HomeValue StoreHome(Context& context, detail::Encoder& value, std::uint32_t flags);

}  // namespace sheaf::runtime
