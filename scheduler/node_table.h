// The pools of a cluster: who they are, how busy, when last heard of; says who is lost when told the time.
//
//   expected --register--> alive --silence--> lost --+
//                            |                       +--register--> alive
//                            +------leave-----> left --+
//
// Lost, left and never returned pools are forgotten after a while, so that the table stays bounded. A name belongs to the life that
// was heard of last until it is lost or has left: a later one is either that pool's next, and waits for this, or another pool.
// Sans-IO: reads no clock, keeps ordered containers only. One owner thread; not synchronised.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace sheaf::scheduler {

using Time = std::int64_t;  // nanoseconds since an origin that the shell chooses
inline constexpr Time kNever = INT64_MAX;

struct PoolLoad {
  std::uint32_t slots = 0, slots_leased = 0;
  std::uint32_t workers_running = 0, workers_idle = 0;
  std::uint32_t clients = 0;
  std::uint64_t segment_bytes = 0, budget_bytes = 0;
  std::uint64_t tasks_executed = 0, workers_died = 0;
  friend bool operator==(const PoolLoad&, const PoolLoad&) = default;
};

struct PoolIdentity {
  std::string pool_id;
  std::uint64_t incarnation = 0;  // grows at each start of the pool
  std::string machine, address, version;
  std::uint32_t pid = 0;
  friend bool operator==(const PoolIdentity&, const PoolIdentity&) = default;
};

enum class Standing { kAlive, kExpected, kLost, kLeft };

struct Node {
  PoolIdentity identity;
  PoolLoad load;
  Standing standing = Standing::kExpected;
  std::uint64_t sequence = 0;  // of the latest heartbeat that counted
  Time last_heard = 0;
  Time deadline = 0;  // alive, expected: lost from then on; lost, left: forgotten from then on
};

class NodeTable {
 public:
  struct Limits {
    Time lost_after = 5'000'000'000;
    Time expected_for = 10'000'000'000;  // after a restart of the scheduler
    Time remembered_for = 600'000'000'000;
    std::size_t pools_max = 4096;
  };
  enum class Registered { kJoined, kRepeated, kSuperseded, kTaken, kFull };
  enum class Heard { kFresh, kLate, kUnknown, kSuperseded };

  explicit NodeTable(const Limits& limits) : limits_(limits) {}

  // A pool known from before a restart; keeps its place until `expected_for` has passed.
  void Expect(const PoolIdentity& identity, Time now);

  // What Register would answer, without doing it.
  Registered Judge(const PoolIdentity& identity, Time now) const;
  Registered Register(const PoolIdentity& identity, const PoolLoad& load, Time now);

  // kUnknown: not alive here, it has to register. kLate: an older heartbeat overtaken by a newer one.
  Heard Heartbeat(const std::string& pool_id, std::uint64_t incarnation, std::uint64_t sequence, const PoolLoad& load,
                  Time now);

  // False if that incarnation is not here, or has left already.
  bool Leave(const std::string& pool_id, std::uint64_t incarnation, Time now);

  struct Expired {
    std::vector<PoolIdentity> lost;
    std::vector<PoolIdentity> forgotten;
  };
  Expired Expire(Time now);
  Time NextDeadline() const;

  const Node* Find(const std::string& pool_id) const;
  const std::map<std::string, Node>& nodes() const { return nodes_; }

 private:
  bool HoldsItsName(const Node& node, Time now) const;

  Limits limits_;
  std::map<std::string, Node> nodes_;
};

}  // namespace sheaf::scheduler
