#include "runtime/heirs.h"

namespace sheaf::runtime {

using detail::ObjectId;

Heirs::Answer Heirs::Find(const ObjectId& owed, ObjectId* heir) const {
  std::lock_guard lock(mutex_);
  const auto dead = dead_.find(owed.client);
  if (dead == dead_.end()) return Answer::kUnknown;
  const auto found = dead->second.heirs.find(KeyOf(owed.slot, owed.generation));
  if (found == dead->second.heirs.end()) return dead->second.settled ? Answer::kNone : Answer::kUnknown;
  *heir = found->second;
  return Answer::kHeir;
}

void Heirs::Add(std::uint32_t dead, std::span<const wire::HeirEntry> entries) {
  std::lock_guard lock(mutex_);
  for (const wire::HeirEntry& entry : entries)
    dead_[dead].heirs.emplace(KeyOf(entry.slot, entry.generation),
                              ObjectId{entry.heir_client, entry.heir_slot, entry.heir_generation});
}

void Heirs::Settle(std::uint32_t dead) {
  std::lock_guard lock(mutex_);
  dead_[dead].settled = true;
}

void Heirs::Forget(std::uint32_t dead) {
  std::lock_guard lock(mutex_);
  dead_.erase(dead);
}

}  // namespace sheaf::runtime
