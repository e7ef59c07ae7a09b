// The scheduler's one thread of decisions: a bounded inbox in front of the core, the core's actions behind it.
//
// Ask and AskView may be called from any thread and never block: they enqueue, or answer at once that there is no
// room. Every answer is given exactly once, on the loop's thread or, when refused, on the caller's. The state store
// runs on a thread of its own, so that a slow disk delays registrations only: what it is told of grants is one transaction for
// all that changed while the one before was written, and nobody waits for it.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <variant>

#include "scheduler/cluster_view.h"
#include "scheduler/scheduler_core.h"
#include "scheduler/state_store.h"

namespace sheaf::scheduler {

class SchedulerLoop {
 public:
  struct Answer {
    Verdict verdict = Verdict::kUnavailable;
    std::string reason;
    std::vector<GrantInfo> grants;
    std::vector<std::uint64_t> infeasible, voided;
    bool drain = false;
    std::vector<CreditInfo> credits = {};
  };
  using OnAnswer = std::function<void(const Answer&)>;
  using OnView = std::function<void(const ClusterView*)>;  // nullptr: no room, or stopping
  using Log = std::function<void(const std::string&)>;

  static constexpr std::size_t kInboxMax = 4096;

  // `store` is open and belongs to the loop from now on; `known` and `granted` were in it. `about` carries what the core
  // does not know.
  SchedulerLoop(SchedulerCore::Config config, const std::vector<PoolIdentity>& known, std::unique_ptr<StateStore> store,
                ClusterView about, Log log, std::vector<GrantRecord> granted = {});
  ~SchedulerLoop();
  SchedulerLoop(const SchedulerLoop&) = delete;
  SchedulerLoop& operator=(const SchedulerLoop&) = delete;

  // `event` is one of those that carry a token; the loop fills it in.
  void Ask(Event event, OnAnswer answer);
  void AskView(OnView answer, bool placement = false);

  // Before Run: where viewers are told that the scheduler listens.
  void set_address(std::string address) { about_.address = std::move(address); }

  // Runs until Stop; then answers whoever still waits with kUnavailable.
  void Run();
  void Stop();

  const SchedulerCore::Config& config() const { return config_; }
  // Before Run: signs the tickets of grants. Any thread may read it.
  void set_secret(std::string secret) { secret_ = std::move(secret); }
  const std::string& secret() const { return secret_; }

 private:
  struct Question {
    Event event;
    OnAnswer answer;
  };
  struct Look {
    OnView answer;
    bool placement = false;
  };
  using Item = std::variant<Question, Look, StoreDone>;
  using Write = std::variant<StorePool, ErasePool, StoreGrants>;

  void Handle(Item item, Time now);
  void Perform(const std::vector<Action>& actions);
  void AnswerToken(std::uint64_t token, Answer answer);
  ClusterView View(Time now, bool placement) const;
  void Store(Write write);
  void WriteLoop();
  bool Enqueue(Item item);

  const SchedulerCore::Config config_;
  const Time started_;
  std::string secret_;
  ClusterView about_;
  Log log_;
  SchedulerCore core_;                         // loop's thread only, as the next two
  std::map<std::uint64_t, OnAnswer> waiting_;  // by token
  std::uint64_t next_token_ = 1;

  std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<Item> inbox_;
  bool stopping_ = false;

  std::unique_ptr<StateStore> store_;  // writer's thread only
  std::mutex write_mutex_;
  std::condition_variable write_arrived_;
  std::deque<Write> writes_;  // bounded by the core's writes_max and pools_max, and one StoreGrants
  bool writer_stopping_ = false;
  std::thread writer_;
};

}  // namespace sheaf::scheduler
