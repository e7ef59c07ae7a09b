// Who inherits what a dead client still owed: docs/decisions/0011-heirs.md. The same core, another chapter.
//
// Invariants: nobody is told of a settlement before all heirs; a client of the job that attaches is told of both before it is
// shown to others; a dead client stays while an object of it is the heir of one that is not forgotten.
#include <algorithm>
#include <iterator>
#include <map>
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

// What a dead client was lent stays with the lender until it is forgotten, and may itself be what keeps the lender from letting go of
// another dead one, round in a circle. Once no living client but the lender looks at any of them, the lending is over.
void PoolCore::TellWhoIsAlone(ClientId job, Actions* actions) {
  const auto lives = [this](ClientId id) {
    const Client* client = Find(id);
    return client && client->state != ClientState::kDead && !client->left;
  };
  std::set<ClientId> lenders;  // living ones, each the only one that some dead client waits for
  for (const auto& [id, dead] : clients_) {
    if (dead.job != job || dead.state != ClientState::kDead) continue;
    ClientId only = 0;
    std::size_t living = 0;
    for (const ClientId on : dead.waiting)
      if (lives(on) && ++living == 1) only = on;
    if (living == 1) lenders.insert(only);
  }
  for (const ClientId lender : lenders) {
    // Those that only this one holds up, directly or through each other. One that it has acknowledged is among them if it waits
    // for another dead one that has not: what was lent to it may be all that the lender still uses of the other.
    std::set<ClientId> free;
    for (const auto& [id, dead] : clients_)
      if (dead.job == job && dead.state == ClientState::kDead) free.insert(id);
    for (bool shrank = true; shrank;) {
      shrank = false;
      for (auto at = free.begin(); at != free.end();) {
        const auto& waiting = clients_.at(*at).waiting;
        const bool held = std::any_of(waiting.begin(), waiting.end(),
                                      [&](ClientId on) { return on != lender && !free.contains(on); });
        at = held ? free.erase(at) : std::next(at);
        shrank |= held;
      }
    }
    for (const ClientId dead : free)
      if (std::exchange(clients_.at(dead).alone, lender) != lender) actions->push_back(pool::SendAlone{lender, dead});
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
