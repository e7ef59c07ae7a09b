// Completions, Wait and Get of many refs.
#include <gtest/gtest.h>

#include "sheaf/sheaf.h"
#include "tests/support/in_process_abi.h"

namespace sheaf {
namespace {

int Same(int n) { return n; }
int Fail(int) { throw std::runtime_error("no"); }
void Nothing() {}

class Deferred : public ::testing::Test {
 protected:
  void SetUp() override { in_process::Defer(true); }
  void TearDown() override {
    while (in_process::WaitingTasks()) in_process::RunNext();
    in_process::Defer(false);
  }
};
using CompletionsTest = Deferred;
using WaitTest = Deferred;

TEST_F(CompletionsTest, HandsOutResultsInTheOrderInWhichTheyFinish) {
  Completions<int> done;
  for (int i = 0; i < 3; ++i) EXPECT_EQ(done.Add(Remote<Same>(10 + i)), static_cast<std::size_t>(i));
  in_process::RunNext(2);
  in_process::RunNext(0);
  std::vector<std::size_t> order;
  while (auto next = done.Next()) {
    order.push_back(next->first);
    EXPECT_EQ(next->second.Get(), 10 + static_cast<int>(next->first));
  }
  EXPECT_EQ(order, (std::vector<std::size_t>{2, 0, 1}));
  EXPECT_EQ(done.size(), 0u);
}

TEST_F(CompletionsTest, GivesNothingWhenTheTimeIsUp) {
  Completions<int> done;
  EXPECT_FALSE(done.Next());
  done.Add(Remote<Same>(1));
  EXPECT_FALSE(done.Next(Duration::zero()));
  EXPECT_TRUE(done.Next());
}

TEST_F(CompletionsTest, FailedResultsAreReadyToo) {
  Completions<int> done;
  done.Add(Remote<Fail>(1));
  const auto next = done.Next();
  ASSERT_TRUE(next);
  EXPECT_THROW(next->second.Get(), TaskError);
}

TEST_F(CompletionsTest, KeepsNoRefThatItHasHandedOut) {
  const auto objects = in_process::LiveObjects();
  Completions<int> done;
  for (int i = 0; i < 100; ++i) {
    done.Add(Remote<Same>(i));
    done.Next();
  }
  EXPECT_EQ(in_process::LiveObjects(), objects);
}

TEST_F(WaitTest, SplitsReadyFromPendingInTheGivenOrder) {
  std::vector<ObjectRef<int>> refs{Remote<Same>(0), Remote<Same>(1), Remote<Same>(2)};
  in_process::RunNext(2);
  in_process::RunNext(0);
  const auto [ready, pending] = Wait(refs, 2);
  ASSERT_EQ(ready.size(), 2u);
  EXPECT_EQ(ready[0].Get(), 0);
  EXPECT_EQ(ready[1].Get(), 2);
  EXPECT_EQ(pending.size(), 1u);
}

TEST_F(WaitTest, WaitsForMore) {
  std::vector<ObjectRef<int>> refs{Remote<Same>(0), Remote<Same>(1), Remote<Same>(2)};
  EXPECT_EQ(Wait(refs, 2, Duration::zero()).ready.size(), 0u);
  EXPECT_EQ(Wait(refs, 2).ready.size(), 2u);
  EXPECT_EQ(Wait(refs, 99).pending.size(), 0u);
}

TEST_F(WaitTest, GetReturnsAllInOrderOrThrows) {
  in_process::Defer(false);
  EXPECT_EQ(Get(std::vector{Remote<Same>(3), Remote<Same>(4)}), (std::vector<int>{3, 4}));
  Get(std::vector{Remote<Nothing>()});
  EXPECT_THROW(Get(std::vector{Remote<Same>(3), Remote<Fail>(4)}), TaskError);
}

}  // namespace
}  // namespace sheaf
