#include "scheduler/scheduler_loop.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <future>
#include <memory>
#include <thread>
#include <vector>

#include "base/unix_time.h"
#include "tests/scheduler/memory_state.h"

namespace sheaf::scheduler {
namespace {

RegisterArrived Register(const std::string& id) {
  RegisterArrived event;
  event.protocol = kProtocol;
  event.pool.pool_id = id;
  event.pool.incarnation = 1;
  event.load.slots = 2;
  return event;
}

class LoopTest : public ::testing::Test {
 protected:
  LoopTest() {
    auto store = std::make_unique<MemoryState>();
    store_ = store.get();
    SchedulerCore::Config config;
    config.cluster_id = "cluster";
    loop_ = std::make_unique<SchedulerLoop>(config, std::vector<PoolIdentity>{}, std::move(store), ClusterView{},
                                            [](const std::string&) {});
  }
  ~LoopTest() override {
    store_->Hold(false);
    Stop();
  }

  void Start() {
    thread_ = std::thread([this] { loop_->Run(); });
  }
  void Stop() {
    loop_->Stop();
    if (thread_.joinable()) thread_.join();
  }

  SchedulerLoop::Answer Ask(Event event) {
    std::promise<SchedulerLoop::Answer> promise;
    loop_->Ask(std::move(event), [&](const SchedulerLoop::Answer& answer) { promise.set_value(answer); });
    return promise.get_future().get();
  }

  MemoryState* store_;
  std::unique_ptr<SchedulerLoop> loop_;
  std::thread thread_;
};

TEST_F(LoopTest, AnswersQuestionsOfManyThreadsOnceEach) {
  Start();
  std::atomic<int> answered{0};
  std::vector<std::thread> askers;
  for (int t = 0; t < 4; ++t) {
    askers.emplace_back([this, t, &answered] {
      for (int i = 0; i < 50; ++i) {
        const std::string id = "p" + std::to_string(t) + "-" + std::to_string(i % 10);
        if (Ask(Register(id)).verdict == Verdict::kOk) ++answered;
      }
    });
  }
  for (std::thread& asker : askers) asker.join();
  EXPECT_EQ(answered, 200);
  EXPECT_EQ(store_->size(), 40u);
}

TEST_F(LoopTest, ShowsItsPools) {
  Start();
  ASSERT_EQ(Ask(Register("a")).verdict, Verdict::kOk);
  std::promise<ClusterView> promise;
  loop_->AskView([&](const ClusterView* view) { promise.set_value(*view); });
  const ClusterView view = promise.get_future().get();
  EXPECT_EQ(view.cluster_id, "cluster");
  ASSERT_EQ(view.pools.size(), 1u);
  EXPECT_EQ(view.pools[0].pool.pool_id, "a");
  EXPECT_EQ(view.pools[0].standing, Standing::kAlive);
  EXPECT_EQ(view.pools[0].load.slots, 2u);
}

TEST_F(LoopTest, GoesOnAnsweringWhileTheDiskIsSlow) {
  Start();
  ASSERT_EQ(Ask(Register("a")).verdict, Verdict::kOk);
  store_->Hold(true);
  std::promise<SchedulerLoop::Answer> slow;
  loop_->Ask(Register("b"), [&](const SchedulerLoop::Answer& answer) { slow.set_value(answer); });
  HeartbeatArrived beat;
  beat.pool_id = "a";
  beat.incarnation = 1;
  beat.epoch = 1;
  beat.sequence = 1;
  EXPECT_EQ(Ask(beat).verdict, Verdict::kOk) << "a heartbeat does not wait for b's write";
  store_->Hold(false);
  EXPECT_EQ(slow.get_future().get().verdict, Verdict::kOk);
}

HeartbeatArrived Wanting(std::uint64_t sequence, std::uint32_t jobs, std::vector<GrantInfo> held = {}) {
  HeartbeatArrived beat;
  beat.pool_id = "near";
  beat.incarnation = 1;
  beat.epoch = 1;
  beat.sequence = sequence;
  for (std::uint64_t job = 1; job <= jobs; ++job) {
    LeaseWant want;
    want.job = job;
    want.slots = 1;
    beat.report.wants.push_back(want);
  }
  beat.report.held = std::move(held);
  return beat;
}
RegisterArrived Lender(const std::string& id) {
  RegisterArrived event = Register(id);
  event.offer.cpus_milli = 64'000;
  event.offer.address = "h:1";
  return event;
}

TEST_F(LoopTest, GrantsWithoutWaitingForTheDiskAndWritesWhatCameMeanwhileAtOnce) {
  Start();
  ASSERT_EQ(Ask(Lender("far")).verdict, Verdict::kOk);
  ASSERT_EQ(Ask(Register("near")).verdict, Verdict::kOk);
  store_->Hold(true);
  std::vector<GrantInfo> held;
  for (std::uint32_t n = 1; n <= 20; ++n) {
    const SchedulerLoop::Answer answer = Ask(Wanting(n, n, held));
    ASSERT_EQ(answer.verdict, Verdict::kOk);
    held = answer.grants;
    ASSERT_EQ(held.size(), n) << "granted while nothing can be written";
  }
  EXPECT_TRUE(store_->grants().empty());
  store_->Hold(false);
  // Behind it in the store's queue, when the first batch's answer has brought the second: all is written by then.
  while (store_->grants().size() < 20) ASSERT_EQ(Ask(Register("x")).verdict, Verdict::kOk);
  EXPECT_EQ(store_->batches(), 2) << "the first grant, and then all others together";
  const GrantRecord one = store_->grants().begin()->second;
  EXPECT_EQ(one.borrower, "near");
  EXPECT_EQ(one.lender, "far");
  EXPECT_LT(std::abs(one.since / 1'000'000'000 - UnixSeconds()), 60) << "by the time of day";
}

TEST_F(LoopTest, GoesOnGrantingWhenTheDiskIsFullAndSaysSo) {
  Start();
  ASSERT_EQ(Ask(Lender("far")).verdict, Verdict::kOk);
  ASSERT_EQ(Ask(Register("near")).verdict, Verdict::kOk);
  store_->SetFull(true);
  const std::vector<GrantInfo> held = Ask(Wanting(1, 1)).grants;
  ASSERT_EQ(held.size(), 1u);
  std::string trouble;
  while (trouble.empty()) {
    std::promise<ClusterView> promise;
    loop_->AskView([&](const ClusterView* view) { promise.set_value(*view); });
    trouble = promise.get_future().get().trouble;
  }
  EXPECT_EQ(trouble, "no room in this test");
  EXPECT_EQ(Ask(Wanting(2, 2, held)).grants.size(), 2u);
}

TEST_F(LoopTest, TellsWhyItTurnsPoolsAwayWhenTheDiskIsFull) {
  Start();
  store_->SetFull(true);
  const SchedulerLoop::Answer answer = Ask(Register("a"));
  EXPECT_EQ(answer.verdict, Verdict::kUnavailable);
  EXPECT_EQ(answer.reason, "no room in this test");
  store_->SetFull(false);
  EXPECT_EQ(Ask(Register("a")).verdict, Verdict::kOk);
}

TEST_F(LoopTest, AnswersAtOnceWhenItsInboxIsFull) {
  // Not started: nothing leaves the inbox.
  std::atomic<int> refused{0};
  const auto count = [&](const SchedulerLoop::Answer& answer) {
    if (answer.verdict == Verdict::kUnavailable) ++refused;
  };
  for (std::size_t i = 0; i < SchedulerLoop::kInboxMax; ++i) loop_->Ask(Register("a"), count);
  EXPECT_EQ(refused, 0);
  loop_->Ask(Register("b"), count);
  EXPECT_EQ(refused, 1);
  bool asked = false;
  loop_->AskView([&](const ClusterView* view) { asked = view == nullptr; });
  EXPECT_TRUE(asked);
}

TEST_F(LoopTest, LeavesNobodyWaitingWhenItStops) {
  Start();
  store_->Hold(true);
  std::promise<SchedulerLoop::Answer> held;
  loop_->Ask(Register("a"), [&](const SchedulerLoop::Answer& answer) { held.set_value(answer); });
  Stop();
  EXPECT_EQ(held.get_future().get().verdict, Verdict::kUnavailable);
  EXPECT_EQ(Ask(Register("late")).verdict, Verdict::kUnavailable);
}

}  // namespace
}  // namespace sheaf::scheduler
