#include "worker/pool_core.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "object_store/segment_layout.h"

namespace sheaf {
namespace {

using wire::ClientState;
using wire::Refusal;
using wire::Role;
using wire::SegmentKind;

constexpr std::uint64_t kPage = 4096;
constexpr std::uint32_t kIncarnationMax = (1u << (32 - limits::kClientIndexBits)) - 1;

std::string MiB(std::uint64_t bytes) {
  const std::uint64_t tenths = bytes / (1024 * 1024 / 10);
  return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + " MiB";
}

}  // namespace

PoolCore::PoolCore(const Config& config) : config_(config), incarnations_(limits::kClientsMax, 0) {
  for (std::uint32_t i = 0; i < std::min(config.clients_max, limits::kClientsMax - 1); ++i) free_.insert(i);
}

std::uint64_t PoolCore::FirstBytes() const {
  return store::ControlBytes(config_.pairs, config_.pairs) + store::SlabBytes(0) + config_.first_arena_bytes;
}

PoolCore::Verdict PoolCore::NoMemory(std::uint64_t bytes) const {
  return {
      Refusal::kOutOfMemory,
      "no room for " + MiB(bytes) + ": " + MiB(used_) + " of the store's " + MiB(config_.budget_bytes) +
          " are in use. Drop refs that are no longer needed, or give the pool more with --store (SHEAF_STORE for an "
          "embedded pool)."};
}

PoolCore::Verdict PoolCore::Add(Role role, ClientId job, const std::uint64_t build[4], ClientId* client,
                                Actions* actions) {
  if (free_.empty()) {
    return {Refusal::kLimit, "the pool has no room for another client: " + std::to_string(clients_.size()) +
                                 " are attached or not forgotten yet"};
  }
  if (FirstBytes() > config_.budget_bytes - used_) return NoMemory(FirstBytes());
  const std::uint32_t index = *free_.begin();
  free_.erase(free_.begin());
  std::uint32_t& incarnation = incarnations_[index];
  incarnation = incarnation == kIncarnationMax ? 1 : incarnation + 1;
  Client entry;
  entry.id = incarnation << limits::kClientIndexBits | index;
  entry.job = role == Role::kDriver ? entry.id : job;
  entry.role = role;
  std::memcpy(entry.build, build, sizeof entry.build);
  entry.segments[0] = {SegmentKind::kControl, store::ControlBytes(config_.pairs, config_.pairs), true, false, {}};
  entry.segments[1] = {SegmentKind::kSlab, store::SlabBytes(0), true, false, {}};
  entry.segments[2] = {SegmentKind::kArena, config_.first_arena_bytes, true, false, {}};
  entry.next_segment = 3;
  entry.bytes = FirstBytes();
  used_ += entry.bytes;
  *client = entry.id;
  actions->push_back(pool::WriteState{entry.id, ClientState::kStarting});
  clients_.emplace(entry.id, std::move(entry));
  return {};
}

PoolCore::Verdict PoolCore::AddDriver(const std::uint64_t build[4], ClientId* client, Actions* actions) {
  return Add(Role::kDriver, 0, build, client, actions);
}

PoolCore::Verdict PoolCore::AddWorker(ClientId job, const std::uint64_t build[4], ClientId* client, Actions* actions) {
  const Client* driver = Find(job);
  if (!driver || driver->role != Role::kDriver || driver->left || driver->state != ClientState::kAlive) {
    return {Refusal::kGone, "the job of this worker has ended"};
  }
  if (std::memcmp(driver->build, build, sizeof driver->build) != 0) {
    return {Refusal::kInvalid, "this worker runs another program than its job's driver: the build ids differ"};
  }
  return Add(Role::kWorker, job, build, client, actions);
}

PoolCore::Verdict PoolCore::AddRelay(ClientId job, ClientId* client, Actions* actions) {
  const Client* driver = Find(job);
  if (!driver || driver->role != Role::kDriver || driver->left || driver->state != ClientState::kAlive) {
    return {Refusal::kGone, "the job of this relay has ended"};
  }
  return Add(Role::kRelay, job, driver->build, client, actions);
}

bool PoolCore::Attached(ClientId client, Actions* actions) {
  Client* entry = FindMutable(client);
  if (!entry || entry->state != ClientState::kStarting) return false;
  entry->state = ClientState::kAlive;
  for (auto& [number, segment] : entry->segments) segment.sealed = true;
  TellNewcomer(*entry, actions);
  actions->push_back(pool::WriteState{client, ClientState::kAlive});
  return true;
}

// ---- memory -----------------------------------------------------------------------------------------------------

PoolCore::Verdict PoolCore::MakeSegment(ClientId owner, SegmentKind kind, std::uint64_t bytes, std::uint32_t* segment) {
  Client* entry = FindMutable(owner);
  if (!entry || entry->state != ClientState::kAlive || entry->left) return {Refusal::kInvalid, "not attached"};
  if (kind != SegmentKind::kSlab && kind != SegmentKind::kArena && kind != SegmentKind::kLarge) {
    return {Refusal::kInvalid, "no such kind of segment"};
  }
  if (bytes == 0 || bytes > limits::kSegmentBytesMax) {
    return {Refusal::kLimit, "a segment has between 1 byte and " + MiB(limits::kSegmentBytesMax)};
  }
  bytes = store::AlignUp(bytes, kPage);
  if (entry->next_segment >= limits::kAwayFirst) {
    return {Refusal::kLimit, "this process has used up its " + std::to_string(limits::kAwayFirst) + " segments"};
  }
  if (bytes > config_.budget_bytes - used_) return NoMemory(bytes);
  used_ += bytes;
  entry->bytes += bytes;
  *segment = entry->next_segment++;
  entry->segments[*segment] = {kind, bytes, false, false, {}};
  return {};
}

bool PoolCore::SegmentMade(ClientId owner, std::uint32_t segment, bool ok) {
  Client* entry = FindMutable(owner);
  if (!entry || !entry->segments.contains(segment)) return false;
  Segment& made = entry->segments[segment];
  SHEAF_CHECK(!made.made);
  made.made = true;
  if (ok && entry->state == ClientState::kAlive && !made.given_up) return true;
  // Who waits for its bytes goes on: its owner hears that there is no memory, and says what becomes of it.
  const auto away = entry->away.find(segment);
  if (away != entry->away.end() && away->second.state == AwaySegment::State::kFilling)
    away->second.state = AwaySegment::State::kAway;
  used_ -= made.bytes;
  entry->bytes -= made.bytes;
  entry->segments.erase(segment);
  return false;
}

bool PoolCore::SegmentMapped(ClientId owner, std::uint32_t segment, Actions* actions) {
  Client* entry = FindMutable(owner);
  if (!entry) return false;
  const auto at = entry->segments.find(segment);
  if (at == entry->segments.end() || !at->second.made || at->second.sealed) return false;
  at->second.sealed = true;
  const auto away = entry->away.find(segment);
  if (away != entry->away.end()) AnswerWaiters({owner, segment}, away->second, actions);
  return true;
}

PoolCore::Verdict PoolCore::OpenSegment(ClientId reader, ClientId owner, std::uint32_t segment) {
  return Lend(reader, {owner, segment}, {owner, segment});
}

PoolCore::Verdict PoolCore::Lend(ClientId reader, SegmentPlace place, SegmentPlace asked) {
  const Client* self = Find(reader);
  if (!self || self->state != ClientState::kAlive) return {Refusal::kInvalid, "not attached"};
  Client* entry = FindMutable(place.client);
  // A client of another job is answered as if it did not exist.
  if (!entry || entry->job != self->job) return {Refusal::kGone, "that client is gone"};
  const auto at = entry->segments.find(place.segment);
  if (at == entry->segments.end()) return {Refusal::kGone, "that segment is gone"};
  if (!at->second.sealed) return {Refusal::kInvalid, "that segment is not published yet"};
  if (place != asked) {
    at->second.lent_as.emplace(reader, asked);
  } else if (reader != place.client) {
    at->second.readers.insert(reader);
  }
  return {};
}

bool PoolCore::DropSegment(ClientId owner, std::uint32_t segment, Actions* actions) {
  Client* entry = FindMutable(owner);
  if (!entry) return false;
  if (segment >= limits::kAwayFirst) return DropAway(*entry, segment, actions);
  const auto at = entry->segments.find(segment);
  // The control segment, and slabs, which home words live in, go with the client alone.
  if (at == entry->segments.end() || !at->second.made || at->second.kind == SegmentKind::kControl ||
      at->second.kind == SegmentKind::kSlab) {
    return false;
  }
  EraseMemory(*entry, segment, actions);
  return true;
}

void PoolCore::EraseMemory(Client& owner, std::uint32_t segment, Actions* actions) {
  const auto at = owner.segments.find(segment);
  const auto tell = [&](ClientId reader, SegmentPlace name) {
    const Client* peer = Find(reader);
    if (peer && peer->state == ClientState::kAlive)
      actions->push_back(pool::SendSegmentGone{reader, name.client, name.segment});
  };
  for (const ClientId reader : at->second.readers) tell(reader, {owner.id, segment});
  for (const auto& [reader, name] : at->second.lent_as) tell(reader, name);
  used_ -= at->second.bytes;
  owner.bytes -= at->second.bytes;
  owner.segments.erase(at);
  actions->push_back(pool::DropSegment{owner.id, segment});
}

// ---- deaths -----------------------------------------------------------------------------------------------------

void PoolCore::Died(ClientId client, std::int32_t status, Actions* actions) {
  Client* entry = FindMutable(client);
  if (!entry || entry->state == ClientState::kDead) return;
  const bool known = entry->state == ClientState::kAlive;  // a starting one was never shown to anybody
  entry->state = ClientState::kDead;
  actions->push_back(pool::WriteState{client, ClientState::kDead});
  LoseAway(*entry, actions);
  LeaveAway(*entry, actions);
  for (const auto& [id, peer] : clients_) {
    if (!known || id == client || peer.job != entry->job || peer.state == ClientState::kStarting) continue;
    // A driver that said goodbye reads nothing any more.
    if (peer.left) continue;
    entry->waiting.insert(id);
    // The memory of one that died before may name ours; it answers by being forgotten.
    if (peer.state == ClientState::kDead) continue;
    entry->untold.insert(id);
    actions->push_back(pool::SendGone{id, client, status});
  }
  SettleHeirsOfAll(client, actions);
  if (known && entry->untold.empty()) SettleHeirs(*entry, client, actions);
  if (entry->role == Role::kDriver && !entry->left) {
    entry->left = true;
    EndJob(client, actions);
  }
  Settle(entry->job, actions);
}

void PoolCore::DriverLeft(ClientId driver, Actions* actions) {
  Client* entry = FindMutable(driver);
  if (!entry || entry->role != Role::kDriver || entry->left) return;
  entry->left = true;
  LeaveAway(*entry, actions);
  // What it still owed an answer for is settled: it looks at nothing any more.
  for (auto& [id, other] : clients_) other.waiting.erase(driver);
  SettleHeirsOfAll(driver, actions);
  EndJob(driver, actions);
  Settle(driver, actions);
}

void PoolCore::EndJob(ClientId driver, Actions* actions) {
  for (const auto& [id, client] : clients_) {
    if (client.job == driver && id != driver && client.state != ClientState::kDead) {
      actions->push_back(pool::EndWorker{id});
    }
  }
}

bool PoolCore::Acknowledge(ClientId client, ClientId dead, Actions* actions) {
  Client* entry = FindMutable(dead);
  // An answer may cross the end of the job or come twice; only one about a living client is nonsense.
  if (!entry) return true;
  if (entry->state != ClientState::kDead) return false;
  if (entry->waiting.erase(client)) Settle(entry->job, actions);
  return true;
}

// Forgets every dead client that no living one still holds up, directly or through another dead one that has not
// answered: those may have lent to each other, so they go as one set.
void PoolCore::Settle(ClientId job, Actions* actions) {
  std::set<ClientId> dead, held;
  for (const auto& [id, client] : clients_) {
    if (client.job != job) continue;
    const bool done = client.state == ClientState::kDead || client.left;
    if (!done) continue;
    // A driver is the last to go, so that its workers' job exists until then.
    if (client.role == Role::kDriver && std::any_of(clients_.begin(), clients_.end(), [&](const auto& other) {
          return other.second.job == job && other.first != id && other.second.state != ClientState::kDead;
        })) {
      held.insert(id);
    }
    dead.insert(id);
  }
  for (bool grew = true; grew;) {
    grew = false;
    for (const ClientId id : dead) {
      if (held.contains(id)) continue;
      const auto& waiting = clients_.at(id).waiting;
      if (IsAwaitedAsHeir(id, dead, held) || std::any_of(waiting.begin(), waiting.end(), [&](ClientId on) {
            return !dead.contains(on) || held.contains(on);
          })) {
        grew = held.insert(id).second;
      }
    }
  }
  for (const ClientId id : dead) {
    if (!held.contains(id)) Forget(id, actions);
  }
  TellWhoIsAlone(job, actions);
}

void PoolCore::Forget(ClientId client, Actions* actions) {
  const auto at = clients_.find(client);
  Client& entry = at->second;
  ForgetAway(entry, actions);
  for (const auto& [id, peer] : clients_) {
    if (peer.job == entry.job && peer.state == ClientState::kAlive && !peer.left) {
      actions->push_back(pool::SendForgotten{id, client});
    }
  }
  for (const auto& [number, segment] : entry.segments) {
    if (segment.made) actions->push_back(pool::DropSegment{client, number});
    used_ -= segment.bytes;
  }
  actions->push_back(pool::WriteState{client, ClientState::kFree});
  if (entry.role == Role::kDriver) actions->push_back(pool::JobOver{client});
  free_.insert(IndexOf(client));
  clients_.erase(at);
  for (auto& [id, other] : clients_) {
    other.waiting.erase(client);
    for (auto& [number, segment] : other.segments) {
      segment.readers.erase(client);
      std::erase_if(segment.lent_as,
                    [&](const auto& lent) { return lent.first == client || lent.second.client == client; });
    }
  }
}

const PoolCore::Client* PoolCore::Find(ClientId client) const {
  const auto at = clients_.find(client);
  return at == clients_.end() ? nullptr : &at->second;
}

PoolCore::Client* PoolCore::FindMutable(ClientId client) {
  const auto at = clients_.find(client);
  return at == clients_.end() ? nullptr : &at->second;
}

void PoolCore::Check() const {
  std::uint64_t sum = 0;
  std::set<std::uint32_t> indices;
  for (const auto& [id, client] : clients_) {
    SHEAF_CHECK(id == client.id && indices.insert(IndexOf(id)).second && !free_.contains(IndexOf(id)));
    SHEAF_CHECK(client.state == ClientState::kDead ||
                (client.waiting.empty() && client.untold.empty() && client.heirs.empty()));
    std::uint64_t bytes = 0;
    for (const auto& [number, segment] : client.segments) {
      SHEAF_CHECK((number < client.next_segment || number >= limits::kAwayFirst) && (!segment.sealed || segment.made));
      bytes += segment.bytes;
    }
    SHEAF_CHECK(bytes == client.bytes);
    CheckAway(client);
    sum += bytes;
  }
  SHEAF_CHECK(sum == used_ && used_ <= config_.budget_bytes);
}

}  // namespace sheaf
