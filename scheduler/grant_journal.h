// Which grants the state store has yet to be told of: collects changes while a write is under way, so that the store gets one
// batch after the other, each as large as what came meanwhile, and nobody waits for it.
//
// What is remembered is bounded by the grants in force and those in the file: a grant that began and ended between two
// batches is never written. Sans-IO. One owner thread; not synchronised.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "scheduler/node_table.h"

namespace sheaf::scheduler {

class GrantJournal {
 public:
  struct Batch {
    std::vector<std::uint64_t> put, erase;
    bool empty() const { return put.empty() && erase.empty(); }
  };
  static constexpr std::size_t kBatchMax = 4096;      // a registration that waits behind it should not wait long
  static constexpr Time kRetryAfter = 1'000'000'000;  // after a failure: the disk may be full

  // It stands in the file that was opened.
  void InFile(std::uint64_t grant) { in_file_.insert(grant); }
  // It has begun or ended. Grants do not change otherwise.
  void Changed(std::uint64_t grant, bool lives);

  // What to write now; empty while a batch is under way, after a failure, or if there is nothing. Followed by Done.
  Batch Begin(Time now);
  // The batch is in the file, or nothing of it is.
  void Done(bool ok, Time now);
  Time NextDeadline() const { return under_way_ || to_do_.empty() ? kNever : again_; }

 private:
  std::set<std::uint64_t> in_file_;      // as if the batch under way were written
  std::map<std::uint64_t, bool> to_do_;  // grant -> put it; else erase it
  std::optional<Batch> under_way_;
  Time again_ = 0;
};

}  // namespace sheaf::scheduler
