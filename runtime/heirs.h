// Where the objects that dead clients still owed are found: docs/decisions/0011-heirs.md.
//
// The helper thread writes it as the pool tells; any thread reads it, and only when it has found an object without a value
// whose client is dead.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <span>
#include <unordered_map>

#include "proto/local_wire.h"
#include "sheaf/detail/abi.h"

namespace sheaf::runtime {

class Heirs {
 public:
  // kUnknown: it may get one yet. kNone: it is lost for good.
  enum class Answer { kUnknown, kHeir, kNone };
  Answer Find(const detail::ObjectId& owed, detail::ObjectId* heir) const;

  void Add(std::uint32_t dead, std::span<const wire::HeirEntry> entries);
  void Settle(std::uint32_t dead);  // there are no others
  void Forget(std::uint32_t dead);  // nobody names its objects any more

 private:
  static std::uint64_t KeyOf(std::uint32_t slot, std::uint32_t generation) {
    return std::uint64_t{slot} << 32 | generation;
  }
  struct OfDead {
    bool settled = false;
    std::unordered_map<std::uint64_t, detail::ObjectId> heirs;
  };
  mutable std::mutex mutex_;
  std::map<std::uint32_t, OfDead> dead_;
};

}  // namespace sheaf::runtime
