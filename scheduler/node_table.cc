#include "scheduler/node_table.h"

#include <algorithm>

namespace sheaf::scheduler {

void NodeTable::Expect(const PoolIdentity& identity, Time now) {
  if (nodes_.size() >= limits_.pools_max) return;
  Node node;
  node.identity = identity;
  node.standing = Standing::kExpected;
  node.last_heard = now;
  node.deadline = now + limits_.expected_for;
  nodes_.emplace(identity.pool_id, std::move(node));
}

// One that is expected, only as long as it takes to come back: most of those that do not have died with the scheduler.
bool NodeTable::HoldsItsName(const Node& node, Time now) const {
  const bool here = node.standing == Standing::kAlive || node.standing == Standing::kExpected;
  return here && now < std::min(node.deadline, node.last_heard + limits_.lost_after);
}

NodeTable::Registered NodeTable::Judge(const PoolIdentity& identity, Time now) const {
  const Node* node = Find(identity.pool_id);
  if (node == nullptr) {
    return nodes_.size() < limits_.pools_max ? Registered::kJoined : Registered::kFull;
  }
  if (identity.incarnation < node->identity.incarnation) return Registered::kSuperseded;
  if (identity.incarnation > node->identity.incarnation)
    return HoldsItsName(*node, now) ? Registered::kTaken : Registered::kJoined;
  // The same life again. One that said goodbye does not come back: this is an old message.
  if (node->standing == Standing::kLeft) return Registered::kSuperseded;
  return node->standing == Standing::kAlive ? Registered::kRepeated : Registered::kJoined;
}

NodeTable::Registered NodeTable::Register(const PoolIdentity& identity, const PoolLoad& load, Time now) {
  const Registered verdict = Judge(identity, now);
  if (verdict != Registered::kJoined && verdict != Registered::kRepeated) return verdict;
  Node& node = nodes_[identity.pool_id];
  if (verdict == Registered::kJoined) {
    node.sequence = 0;
    node.load = load;
  }
  node.identity = identity;
  node.standing = Standing::kAlive;
  node.last_heard = now;
  node.deadline = now + limits_.lost_after;
  return verdict;
}

NodeTable::Heard NodeTable::Heartbeat(const std::string& pool_id, std::uint64_t incarnation, std::uint64_t sequence,
                                      const PoolLoad& load, Time now) {
  const auto found = nodes_.find(pool_id);
  if (found == nodes_.end()) return Heard::kUnknown;
  Node& node = found->second;
  if (incarnation < node.identity.incarnation) return Heard::kSuperseded;
  if (incarnation > node.identity.incarnation) return Heard::kUnknown;
  if (node.standing == Standing::kLeft) return Heard::kSuperseded;
  // A lost pool's share of the cluster was given away: it must come back as a newcomer.
  if (node.standing != Standing::kAlive) return Heard::kUnknown;
  if (sequence <= node.sequence) return Heard::kLate;
  node.sequence = sequence;
  node.load = load;
  node.last_heard = now;
  node.deadline = now + limits_.lost_after;
  return Heard::kFresh;
}

bool NodeTable::Leave(const std::string& pool_id, std::uint64_t incarnation, Time now) {
  const auto found = nodes_.find(pool_id);
  if (found == nodes_.end() || found->second.identity.incarnation != incarnation) return false;
  Node& node = found->second;
  if (node.standing == Standing::kLeft) return false;
  node.standing = Standing::kLeft;
  node.load = {};
  node.deadline = now + limits_.remembered_for;
  return true;
}

NodeTable::Expired NodeTable::Expire(Time now) {
  Expired out;
  for (auto it = nodes_.begin(); it != nodes_.end();) {
    Node& node = it->second;
    if (now < node.deadline) {
      ++it;
    } else if (node.standing == Standing::kAlive || node.standing == Standing::kExpected) {
      node.standing = Standing::kLost;
      node.deadline = now + limits_.remembered_for;
      out.lost.push_back(node.identity);
      ++it;
    } else {
      out.forgotten.push_back(node.identity);
      it = nodes_.erase(it);
    }
  }
  return out;
}

Time NodeTable::NextDeadline() const {
  Time next = kNever;
  for (const auto& [id, node] : nodes_) next = std::min(next, node.deadline);
  return next;
}

const Node* NodeTable::Find(const std::string& pool_id) const {
  const auto found = nodes_.find(pool_id);
  return found == nodes_.end() ? nullptr : &found->second;
}

}  // namespace sheaf::scheduler
