#include "scheduler/scheduler_loop.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <memory>
#include <thread>
#include <vector>

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
