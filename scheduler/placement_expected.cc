// What an earlier life of this scheduler had granted: expected until both pools have spoken.
#include <vector>

#include "scheduler/placement_core.h"

namespace sheaf::scheduler {

void PlacementCore::Expect(const GrantRecord& grant) {
  if (EpochOf(grant.id) >= EpochOf(next_grant_) || grant.borrower == grant.lender) {  // no state of ours says so
    changed_.push_back(grant.id);
    return;
  }
  expected_[grant.id] = grant;
  expected_at_[grant.borrower].insert(grant.id);
  expected_at_[grant.lender].insert(grant.id);
}

void PlacementCore::Unexpect(std::uint64_t id) {
  const auto found = expected_.find(id);
  if (found == expected_.end()) return;
  for (const std::string& pool : {found->second.borrower, found->second.lender}) {
    const auto at = expected_at_.find(pool);
    at->second.erase(id);
    if (at->second.empty()) expected_at_.erase(at);
  }
  expected_.erase(found);
  changed_.push_back(id);
}

void PlacementCore::UnexpectOthers(const std::string& pool, std::uint64_t incarnation) {
  const auto at = expected_at_.find(pool);
  if (at == expected_at_.end()) return;
  for (const std::uint64_t id : std::vector(at->second.begin(), at->second.end())) {
    const GrantRecord& grant = expected_.at(id);
    const std::uint64_t life = grant.borrower == pool ? grant.borrower_incarnation : grant.lender_incarnation;
    if (life != incarnation) Unexpect(id);
  }
}

}  // namespace sheaf::scheduler
