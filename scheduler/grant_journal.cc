#include "scheduler/grant_journal.h"

#include <utility>

namespace sheaf::scheduler {

void GrantJournal::Changed(std::uint64_t grant, bool lives) {
  if (in_file_.contains(grant) == lives) {
    to_do_.erase(grant);
  } else {
    to_do_[grant] = lives;
  }
}

GrantJournal::Batch GrantJournal::Begin(Time now) {
  Batch batch;
  if (under_way_ || to_do_.empty() || now < again_) return batch;
  for (std::size_t n = 0; n < kBatchMax && !to_do_.empty(); ++n) {
    const auto [grant, put] = *to_do_.begin();
    to_do_.erase(to_do_.begin());
    if (put) {
      batch.put.push_back(grant);
      in_file_.insert(grant);
    } else {
      batch.erase.push_back(grant);
      in_file_.erase(grant);
    }
  }
  under_way_ = batch;
  return batch;
}

void GrantJournal::Done(bool ok, Time now) {
  if (!under_way_) return;
  const Batch batch = *std::exchange(under_way_, std::nullopt);
  if (ok) return;
  again_ = now + kRetryAfter;
  // Whatever has not changed again meanwhile is to be done still; what has needs nothing now.
  for (const std::uint64_t grant : batch.put) {
    in_file_.erase(grant);
    if (to_do_.erase(grant) == 0) to_do_[grant] = true;
  }
  for (const std::uint64_t grant : batch.erase) {
    in_file_.insert(grant);
    if (to_do_.erase(grant) == 0) to_do_[grant] = false;
  }
}

}  // namespace sheaf::scheduler
