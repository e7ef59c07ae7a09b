// Who inherits what a dead client still owed: docs/decisions/0011-heirs.md. The same core, another chapter.
//
// Invariants: nobody is told of a settlement before all heirs; a client of the job that attaches is told of both before it is
// shown to others; a dead client stays while an object of it is the heir of one that is not forgotten.
#include <algorithm>
#include <utility>

#include "worker/pool_core.h"

namespace sheaf {

using wire::ClientState;

bool PoolCore::NameHeirs(ClientId client, ClientId dead, const std::vector<wire::HeirEntry>& heirs, Actions* actions) {
  Client* entry = FindMutable(dead);
  if (!entry) return true;  // forgotten meanwhile: nobody reads its names any more
  if (entry->state != ClientState::kDead || !entry->untold.contains(client)) return false;
  std::size_t room = limits::kHeirsMax;  // a newcomer hears of all at once
  for (const auto& [id, other] : clients_)
    if (other.job == entry->job) room -= other.heirs.size();
  std::vector<wire::HeirEntry> taken;
  for (const wire::HeirEntry& heir : heirs)
    if (heir.heir_client != client) return false;
  for (const wire::HeirEntry& heir : heirs) {
    if (room == taken.size() || !entry->heirs.emplace(std::pair(heir.slot, heir.generation), heir).second) continue;
    entry->heirs_with.insert(client);
    taken.push_back(heir);
  }
  if (taken.empty()) return true;
  for (const auto& [id, peer] : clients_)
    if (peer.job == entry->job && peer.state == ClientState::kAlive && !peer.left)
      actions->push_back(pool::SendHeirs{id, dead, taken});
  return true;
}

bool PoolCore::HeirsTold(ClientId client, ClientId dead, Actions* actions) {
  Client* entry = FindMutable(dead);
  if (!entry) return true;
  if (entry->state != ClientState::kDead) return false;
  if (entry->untold.contains(client)) SettleHeirs(*entry, client, actions);
  return true;
}

// `told` says nothing more of it.
void PoolCore::SettleHeirs(Client& dead, ClientId told, Actions* actions) {
  dead.untold.erase(told);
  if (!dead.untold.empty()) return;
  SettleAway(dead, actions);
  for (const auto& [id, peer] : clients_)
    if (peer.job == dead.job && peer.state == ClientState::kAlive && !peer.left)
      actions->push_back(pool::SendSettled{id, dead.id});
}

void PoolCore::SettleHeirsOfAll(ClientId gone, Actions* actions) {
  for (auto& [id, client] : clients_)
    if (client.untold.contains(gone)) SettleHeirs(client, gone, actions);
}

void PoolCore::TellNewcomer(const Client& client, Actions* actions) const {
  for (const auto& [id, dead] : clients_) {
    if (dead.job != client.job || dead.state != ClientState::kDead) continue;
    pool::SendHeirs some{client.id, id, {}};
    for (const auto& [name, heir] : dead.heirs) {
      some.heirs.push_back(heir);
      if (some.heirs.size() == wire::kHeirEntriesMax) actions->push_back(std::exchange(some, {client.id, id, {}}));
    }
    if (!some.heirs.empty()) actions->push_back(some);
    if (dead.untold.empty()) actions->push_back(pool::SendSettled{client.id, id});
  }
}

// Who reads through an heir has pinned what it inherits from, not the heir's own client.
bool PoolCore::IsAwaitedAsHeir(ClientId client, const std::set<ClientId>& dead, const std::set<ClientId>& held) const {
  return std::any_of(clients_.begin(), clients_.end(), [&](const auto& other) {
    const auto& [id, from] = other;
    const bool goes_along = dead.contains(id) && !held.contains(id);
    return id != client && !goes_along && from.heirs_with.contains(client);
  });
}

}  // namespace sheaf
