#include "scheduler/grant_journal.h"

#include <gtest/gtest.h>

#include <set>

#include "base/random.h"

namespace sheaf::scheduler {
namespace {

using Ids = std::vector<std::uint64_t>;
constexpr Time kRetry = GrantJournal::kRetryAfter;

TEST(GrantJournal, CollectsWhatChangesWhileABatchIsUnderWay) {
  GrantJournal journal;
  journal.Changed(1, true);
  EXPECT_EQ(journal.Begin(0).put, Ids{1});
  journal.Changed(2, true);
  journal.Changed(3, true);
  EXPECT_TRUE(journal.Begin(0).empty()) << "one at a time";
  EXPECT_EQ(journal.NextDeadline(), kNever);
  journal.Done(true, 0);
  EXPECT_EQ(journal.Begin(0).put, (Ids{2, 3}));
}

TEST(GrantJournal, WritesNothingOfAGrantThatBeganAndEndedMeanwhile) {
  GrantJournal journal;
  journal.Changed(1, true);
  journal.Begin(0);
  journal.Changed(2, true);
  journal.Changed(2, false);
  journal.Changed(1, false);
  journal.Done(true, 0);
  const GrantJournal::Batch batch = journal.Begin(0);
  EXPECT_TRUE(batch.put.empty());
  EXPECT_EQ(batch.erase, Ids{1});
}

TEST(GrantJournal, DoesNotWriteAgainWhatTheFileHas) {
  GrantJournal journal;
  journal.InFile(1);
  journal.Changed(1, true);
  EXPECT_TRUE(journal.Begin(0).empty());
  journal.Changed(1, false);
  EXPECT_EQ(journal.Begin(0).erase, Ids{1});
}

TEST(GrantJournal, TriesAgainAfterAWhileWhatWasNotWritten) {
  GrantJournal journal;
  journal.InFile(1);
  journal.Changed(1, false);
  journal.Changed(2, true);
  journal.Changed(3, true);
  journal.Begin(0);
  journal.Changed(3, false);  // it never came into the file
  journal.Done(false, 5);
  EXPECT_EQ(journal.NextDeadline(), 5 + kRetry);
  EXPECT_TRUE(journal.Begin(5 + kRetry - 1).empty());
  const GrantJournal::Batch batch = journal.Begin(5 + kRetry);
  EXPECT_EQ(batch.put, Ids{2});
  EXPECT_EQ(batch.erase, Ids{1});
}

TEST(GrantJournal, BoundsABatch) {
  GrantJournal journal;
  for (std::uint64_t id = 1; id <= GrantJournal::kBatchMax + 1; ++id) journal.Changed(id, true);
  EXPECT_EQ(journal.Begin(0).put.size(), GrantJournal::kBatchMax);
  journal.Done(true, 0);
  EXPECT_EQ(journal.Begin(0).put.size(), 1u);
}

// Whatever changes and fails in between: once all is written, the file has what lives.
TEST(GrantJournal, BringsTheFileToWhatLives) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    Random random(seed);
    GrantJournal journal;
    std::set<std::uint64_t> lives, file;
    GrantJournal::Batch batch;
    Time now = 0;
    const auto done = [&](bool ok) {
      if (ok) {
        for (const std::uint64_t id : batch.erase) EXPECT_EQ(file.erase(id), 1u) << "seed " << seed;
        for (const std::uint64_t id : batch.put) EXPECT_TRUE(file.insert(id).second) << "seed " << seed;
      }
      batch = {};
      journal.Done(ok, now);
    };
    for (int step = 0; step < 200; ++step) {
      const std::uint64_t id = 1 + random.Below(6);
      switch (random.Below(4)) {
        case 0:
        case 1: {
          const bool begins = lives.insert(id).second;
          if (!begins) lives.erase(id);
          journal.Changed(id, begins);
          break;
        }
        case 2:
          if (auto next = journal.Begin(now); !next.empty()) batch = next;
          break;
        default:
          if (!batch.empty()) done(random.Below(3) > 0);
          now += static_cast<Time>(random.Below(2)) * kRetry;
      }
    }
    if (!batch.empty()) done(true);
    now += kRetry;
    batch = journal.Begin(now);
    if (!batch.empty()) done(true);
    EXPECT_EQ(file, lives) << "seed " << seed;
    EXPECT_EQ(journal.NextDeadline(), kNever);
  }
}

}  // namespace
}  // namespace sheaf::scheduler
