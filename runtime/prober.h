// Where an object of any client stands: home word, then the completion slot that it is bound to. Lock-free; the caller
// holds something that keeps the object (a task in flight, a pin), and Context::lookers or the submitter's lock.
#pragma once

#include "runtime/context.h"
#include "runtime/roots.h"

namespace sheaf::runtime {

struct Probed {
  enum State { kPending, kValue, kLost } state = kPending;
  std::uint32_t flags = 0;
  std::uint32_t size = 0;
  std::uint64_t bound = 0;              // kPending: the home word, if a worker has the task
  const std::byte* in_place = nullptr;  // in the home slot; nullptr: the payload is in `copy`
};

// `copy` is written only when the value was found in a completion slot. What a dead client owed is looked for where its heir is
// (docs/decisions/0011); it is lost when there is none.
Probed Probe(Context& context, const ObjectId& id, PayloadCopy* copy);

// Under its own name only. `owed`, if lost: its client is dead, and its memory is there.
Probed ProbeHome(Context& context, const ObjectId& id, PayloadCopy* copy, bool* owed = nullptr);

// Whether a task whose input is the object, followed `unwrap` times through refs, would find what it needs, or that it is lost.
bool LeadsToValue(Context& context, ObjectId id, std::uint32_t unwrap);

}  // namespace sheaf::runtime
