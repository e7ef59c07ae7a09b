// The caller's side of the scheduler's gRPC door: for pools and for viewers. Calls block up to their deadline.
//
// Plain values in and out; no gRPC in this header. One client may be used from one thread, except Cancel.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "scheduler/cluster_view.h"
#include "scheduler/join_tokens.h"
#include "scheduler/listen_address.h"
#include "scheduler/pki.h"
#include "scheduler/scheduler_core.h"

namespace sheaf::scheduler {

struct CallStatus {
  enum class Kind { kOk, kUnreachable, kTimeout, kNotAScheduler, kFailed };
  Kind kind = Kind::kOk;
  std::string message;
  bool ok() const { return kind == Kind::kOk; }
};

struct RegisterResult {
  Verdict verdict = Verdict::kUnavailable;
  std::string reason, cluster_id;
  std::uint64_t epoch = 0;
  std::uint32_t heartbeat_interval_ms = 0, lost_after_ms = 0;
  std::string lender_key;
};
struct HeartbeatResult {
  Verdict verdict = Verdict::kUnavailable;
  std::string reason;
  std::uint64_t epoch = 0;
  struct Granted {
    GrantInfo grant;
    std::string ticket;
  };
  std::vector<Granted> grants;
  std::vector<std::uint64_t> infeasible, voided;
  bool drain = false;
  struct Credit {
    std::uint64_t parked = 0;
    Granted granted;
  };
  std::vector<Credit> credits;
};

class SchedulerClient {
 public:
  // `credentials`: of a member or admin; nullptr: in the clear, to this machine only.
  explicit SchedulerClient(const ListenAddress& address, const Credentials* credentials = nullptr);
  ~SchedulerClient();

  CallStatus Register(const RegisterArrived& request, std::chrono::milliseconds deadline, RegisterResult* result);
  CallStatus Heartbeat(const HeartbeatArrived& request, std::chrono::milliseconds deadline, HeartbeatResult* result);
  CallStatus Leave(const std::string& pool_id, std::uint64_t incarnation, std::uint64_t epoch,
                   std::chrono::milliseconds deadline);
  // A stranger becomes a member, or a member gets its next certificate: `own` is replaced.
  static CallStatus Join(const Invitation& invitation, const std::string& pool, std::chrono::milliseconds deadline,
                         Credentials* own);
  CallStatus Renew(std::chrono::milliseconds deadline, Credentials* own);
  CallStatus Drain(const std::string& pool_id, std::chrono::milliseconds deadline, bool* found);
  // `placement`: with jobs and grants.
  CallStatus GetCluster(std::chrono::milliseconds deadline, ClusterView* view, bool placement = false);

  // From any thread: the call in progress, and every later one but Leave, fails at once.
  void Cancel();

 private:
  struct Wire;
  std::unique_ptr<Wire> wire_;
};

}  // namespace sheaf::scheduler
