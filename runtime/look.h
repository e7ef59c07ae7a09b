// Counts a thread as inside a lock-free look at other clients' memory: nothing is unmapped meanwhile (Context::lookers).
#pragma once

#include <atomic>

#include "runtime/context.h"

namespace sheaf::runtime {

class Look {
 public:
  explicit Look(Context& context) : context_(context) { context_.lookers.fetch_add(1, std::memory_order_seq_cst); }
  ~Look() { context_.lookers.fetch_sub(1, std::memory_order_release); }
  Look(const Look&) = delete;
  Look& operator=(const Look&) = delete;

 private:
  Context& context_;
};

}  // namespace sheaf::runtime
