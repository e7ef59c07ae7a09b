// What no pool can decide alone: who is a member of the cluster, and who lends to whom (placement_core).
//
// Sans-IO: events and the time go in, actions come out. Every request carries a token and is answered exactly once
// with it, at once or after a durable write; a repeated request gets the answer of the first. A registration is
// acknowledged only when the state store holds it, so that a restarted scheduler still expects the pool. Grants are stored, too,
// but after the fact: what the store knows of them may be behind, and is for viewers until the pools report.
// One owner thread; not synchronised. The shell carries out the actions in their order, after OnEvent has returned.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "scheduler/cluster_view.h"
#include "scheduler/grant_journal.h"
#include "scheduler/node_table.h"
#include "scheduler/placement_core.h"

namespace sheaf::scheduler {

inline constexpr std::uint32_t kProtocol = 1;  // between pool and scheduler

enum class Verdict { kOk, kRegisterAgain, kSuperseded, kRefused, kUnavailable };

// Events.
struct RegisterArrived {
  std::uint64_t token = 0;
  std::uint32_t protocol = 0;
  PoolIdentity pool;
  PoolLoad load;
  std::string cluster_id_seen;
  std::uint64_t epoch_seen = 0;
  PoolOffer offer;
};
struct HeartbeatArrived {
  std::uint64_t token = 0;
  std::string pool_id;
  std::uint64_t incarnation = 0, epoch = 0, sequence = 0;
  PoolLoad load;
  PoolReport report;
};
struct LeaveArrived {
  std::uint64_t token = 0;
  std::string pool_id;
  std::uint64_t incarnation = 0;
};
struct DrainAsked {  // by whoever runs the cluster
  std::uint64_t token = 0;
  std::string pool_id;
};
struct StoreDone {  // the answer to StorePool, ErasePool and StoreGrants
  std::uint64_t write = 0;
  bool ok = true;
  std::string error;
};
struct Tick {};
using Event = std::variant<RegisterArrived, HeartbeatArrived, LeaveArrived, DrainAsked, StoreDone, Tick>;

// Actions.
struct ReplyRegister {
  std::uint64_t token = 0;
  Verdict verdict = Verdict::kOk;
  std::string reason;
};
struct ReplyHeartbeat {
  std::uint64_t token = 0;
  Verdict verdict = Verdict::kOk;
  std::string reason;
  std::vector<GrantInfo> grants;
  std::vector<std::uint64_t> infeasible, voided;
  bool drain = false;
  std::vector<CreditInfo> credits = {};
};
struct ReplyLeave {
  std::uint64_t token = 0;
  Verdict verdict = Verdict::kOk;
};
struct ReplyDrain {
  std::uint64_t token = 0;
  Verdict verdict = Verdict::kOk;  // kRefused: no living pool has that id
};
struct StorePool {  // durable before StoreDone
  std::uint64_t write = 0;
  PoolIdentity pool;
};
struct ErasePool {
  std::uint64_t write = 0;
  std::string pool_id;
};
struct StoreGrants {  // all of it or nothing; nobody waits for it, and there is one at a time
  std::uint64_t write = 0;
  std::vector<GrantRecord> put;
  std::vector<std::uint64_t> erase;
};
struct PoolJoined {  // an announcement: a line in the log today
  PoolIdentity pool;
};
struct PoolGone {
  PoolIdentity pool;
  std::string why;
};
using Action = std::variant<ReplyRegister, ReplyHeartbeat, ReplyLeave, ReplyDrain, StorePool, ErasePool, StoreGrants,
                            PoolJoined, PoolGone>;

class SchedulerCore {
 public:
  struct Config {
    std::string cluster_id;
    std::uint64_t epoch = 1;
    NodeTable::Limits limits;
    PlacementCore::Limits placement;
    std::size_t writes_max = 256;  // registrations that may wait for the state store
    std::size_t waiters_max = 8;   // repeats of one registration that may wait with it
  };

  // `known`, `granted`: what the state store has from the life before.
  SchedulerCore(Config config, const std::vector<PoolIdentity>& known, Time now,
                const std::vector<GrantRecord>& granted = {});

  std::vector<Action> OnEvent(const Event& event, Time now);
  Time NextDeadline() const {
    return std::min({nodes_.NextDeadline(), placement_.NextDeadline(), journal_.NextDeadline()});
  }

  const NodeTable& nodes() const { return nodes_; }
  const PlacementCore& placement() const { return placement_; }
  const Config& config() const { return config_; }
  // What viewers see, but for what the core does not know. `placement`: with jobs and grants.
  ClusterView Show(Time now, bool placement) const;
  // Empty, or why new pools are turned away at the moment.
  const std::string& trouble() const { return trouble_; }
  std::size_t writes_open() const { return writes_.size(); }

 private:
  struct OpenWrite {
    PoolIdentity pool;
    PoolLoad load;
    PoolOffer offer;
    std::vector<std::uint64_t> waiting;  // tokens; empty: an ErasePool
  };

  void On(const RegisterArrived& event, Time now);
  void On(const HeartbeatArrived& event, Time now);
  void On(const LeaveArrived& event, Time now);
  void On(const DrainAsked& event, Time now);
  void On(const StoreDone& event, Time now);
  void On(const Tick& event, Time now);
  void Settle(std::uint64_t token, const PoolIdentity& pool, const PoolLoad& load, const PoolOffer& offer, Time now);
  bool Drains(const std::string& pool_id, std::uint64_t incarnation) const;
  void Erase(const PoolIdentity& pool);
  void WriteGrants(Time now);
  OpenWrite* FindWaiting(const PoolIdentity& pool);

  Config config_;
  NodeTable nodes_;
  PlacementCore placement_;
  std::map<std::string, std::uint64_t> draining_;  // pool -> the life of it that was asked to end
  std::map<std::uint64_t, OpenWrite> writes_;
  std::uint64_t next_write_ = 1;
  GrantJournal journal_;
  std::uint64_t grants_write_ = 0;  // the StoreGrants under way
  std::string trouble_;
  std::vector<Action> actions_;  // of the event in hand
};

// For logs, digests and test failures: one line, no addresses of memory.
std::string Describe(const Action& action);

}  // namespace sheaf::scheduler
