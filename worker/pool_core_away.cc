// Segments whose bytes lie on another machine until somebody reads them: docs/decisions/0012. The same core, another chapter.
//
// Invariants (CheckAway): who waits will be answered: its owner knows that it is wanted, or somebody may still make it again;
// what is here is sealed, what is filled has memory that is not; nothing stays lost once its owner's death is settled, or
// claimed by somebody who is gone.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "object_store/segment_layout.h"
#include "worker/pool_core.h"

namespace sheaf {
namespace {

using wire::ClientState;
using wire::Refusal;
using wire::Role;
using State = PoolCore::AwaySegment::State;

constexpr std::uint64_t kPage = 4096;
constexpr std::size_t kWhyMax = 512;  // kept for each segment that failed
constexpr char kNotMadeAgain[] = "it lay on a machine that is gone, and nobody can make it again";

bool IsAwayNumber(std::uint32_t segment) { return segment >= limits::kAwayFirst && segment < limits::kSegmentsMax; }
bool MayStillCome(State state) {
  return state == State::kAway || state == State::kFilling || state == State::kLost || state == State::kClaimed;
}

}  // namespace

// ---- what its owner says ----------------------------------------------------------------------------------------

bool PoolCore::AddAway(ClientId owner, const std::vector<wire::AwayEntry>& entries) {
  Client* client = FindMutable(owner);
  if (!client || client->role != Role::kRelay || client->state != ClientState::kAlive) return false;
  if (client->away.size() + entries.size() > limits::kAwayMax) return false;
  std::set<std::uint32_t> fresh;
  for (const wire::AwayEntry& entry : entries) {
    const bool used = client->away.contains(entry.segment) || client->segments.contains(entry.segment);
    if (!IsAwayNumber(entry.segment) || used || !fresh.insert(entry.segment).second) return false;
    if (entry.bytes == 0 || entry.bytes > limits::kSegmentBytesMax) return false;
  }
  for (const wire::AwayEntry& entry : entries) {
    AwaySegment& away = client->away[entry.segment];
    away.bytes = entry.bytes;
    std::copy(std::begin(entry.offer), std::end(entry.offer), away.offer.begin());
  }
  return true;
}

PoolCore::Verdict PoolCore::FillAway(ClientId owner, std::uint32_t segment, wire::SegmentKind kind,
                                     std::uint64_t bytes) {
  Client* client = FindMutable(owner);
  if (!client || client->state != ClientState::kAlive) return {Refusal::kInvalid, "not attached"};
  const auto at = client->away.find(segment);
  if (at == client->away.end()) return {Refusal::kGone, "no segment of yours with this number lies elsewhere"};
  AwaySegment& away = at->second;
  if (away.state != State::kAway) return {Refusal::kInvalid, "that segment has memory already"};
  if (kind != wire::SegmentKind::kLarge || bytes != away.bytes)
    return {Refusal::kInvalid, "that segment was announced with another size or kind"};
  // The memory of an attempt that was given up is still being made, under the same number.
  if (client->segments.contains(segment)) return {Refusal::kLater, "its memory of before is still being given back"};
  const std::uint64_t rounded = store::AlignUp(bytes, kPage);
  if (rounded > config_.budget_bytes - used_) return NoMemory(rounded);
  used_ += rounded;
  client->bytes += rounded;
  client->segments[segment] = {kind, rounded, false, false, {}};
  away.state = State::kFilling;
  return {};
}

bool PoolCore::NotFetched(ClientId owner, std::uint32_t segment, Refusal why, const std::string& text,
                          Actions* actions) {
  Client* client = FindMutable(owner);
  if (!client || client->role != Role::kRelay || client->state != ClientState::kAlive) return false;
  const auto at = client->away.find(segment);
  if (at == client->away.end()) return true;
  AwaySegment& away = at->second;
  if (away.state != State::kAway && away.state != State::kFilling) return true;
  away.wanted = false;
  if (away.state == State::kFilling) {
    Segment& memory = client->segments.at(segment);
    memory.given_up = true;
    if (memory.made) EraseMemory(*client, segment, actions);
    away.state = State::kAway;
  }
  RefuseWaiters(away, why, text, actions);
  return true;
}

// The number is free again, unless its memory is just being made: then as soon as that is done.
bool PoolCore::DropAway(Client& owner, std::uint32_t segment, Actions* actions) {
  const auto at = owner.away.find(segment);
  if (at == owner.away.end()) return false;
  const auto memory = owner.segments.find(segment);
  if (memory != owner.segments.end()) {
    memory->second.given_up = true;
    if (memory->second.made) EraseMemory(owner, segment, actions);
  }
  RefuseWaiters(at->second, Refusal::kGone, "that segment is gone", actions);
  owner.away.erase(at);
  return true;
}

bool PoolCore::Arrived(ClientId relay, ClientId submitter, std::uint32_t slot, std::uint32_t generation,
                       Actions* actions) {
  const Client* from = Find(relay);
  if (!from || from->role != Role::kRelay || from->state != ClientState::kAlive) return false;
  const Client* to = Find(submitter);
  if (to && to->job == from->job && to->state == ClientState::kAlive && !to->left)
    actions->push_back(pool::SendHasArrived{submitter, slot, generation});
  return true;
}

// ---- what readers say -------------------------------------------------------------------------------------------

void PoolCore::OpenAway(ClientId reader, SegmentPlace asked, bool now, std::uint64_t request, Actions* actions) {
  Seek({reader, request, asked}, asked, now, actions);
}

void PoolCore::Fetch(ClientId client, SegmentPlace asked, Actions* actions) {
  const Client* self = Find(client);
  AwaySegment* away = nullptr;
  SegmentPlace at = asked;
  if (!self || !Follow(self->job, &at, &away) || !away) return;
  if (away->state == State::kAway) WantAway(at, *away, actions);
}

// From a name to what stands in for it. `away` is null where the end is an ordinary segment.
PoolCore::Verdict PoolCore::Follow(ClientId job, SegmentPlace* at, AwaySegment** away) {
  for (std::uint32_t deep = 0; deep <= limits::kAwayChainMax; ++deep) {
    Client* owner = FindMutable(at->client);
    if (!owner || owner->job != job) return {Refusal::kGone, "that client is gone"};
    *away = nullptr;
    if (at->segment < limits::kAwayFirst) return {};
    const auto found = owner->away.find(at->segment);
    if (found == owner->away.end()) return {Refusal::kGone, "that segment is gone"};
    *away = &found->second;
    if (found->second.state != State::kRemade) return {};
    *at = found->second.to;
  }
  return {Refusal::kGone, "it was lost and made again more than " + std::to_string(limits::kAwayChainMax) + " times"};
}

void PoolCore::Seek(const AwaySegment::Waiter& waiter, SegmentPlace at, bool now, Actions* actions) {
  const auto refuse = [&](Refusal why, const std::string& text) {
    actions->push_back(pool::RefuseOpen{waiter.reader, waiter.request, why, text});
  };
  const Client* self = Find(waiter.reader);
  if (!self || self->state != ClientState::kAlive || self->left) return refuse(Refusal::kInvalid, "not attached");
  AwaySegment* away = nullptr;
  if (const Verdict found = Follow(self->job, &at, &away); !found) return refuse(found.why, found.text);
  if (!away || away->state == State::kHere) {
    const Verdict lent = Lend(waiter.reader, at, waiter.asked);
    if (!lent) return refuse(lent.why, lent.text);
    actions->push_back(pool::AnswerOpen{waiter.reader, waiter.request, at, waiter.asked});
    return;
  }
  if (away->state == State::kFailed) return refuse(Refusal::kGone, away->why);
  const bool lies_elsewhere = away->state == State::kAway || away->state == State::kFilling;
  if (now && lies_elsewhere) {
    actions->push_back(pool::AnswerAway{waiter.reader, waiter.request, at, waiter.asked});
    return;
  }
  if (now) return refuse(Refusal::kLater, "the machine that it lay on is gone; it may be made again");
  if (away->waiters.size() >= limits::kAwayWaitersMax)
    return refuse(Refusal::kLimit, std::to_string(limits::kAwayWaitersMax) + " reads of that segment wait already");
  away->waiters.push_back(waiter);
  // Also while it is being filled: should there be no memory for it, its owner must know that somebody waits.
  if (lies_elsewhere) WantAway(at, *away, actions);
}

void PoolCore::WantAway(SegmentPlace at, AwaySegment& away, Actions* actions) {
  if (!std::exchange(away.wanted, true)) actions->push_back(pool::SendWanted{at.client, at.segment});
}

void PoolCore::AnswerWaiters(SegmentPlace at, AwaySegment& away, Actions* actions) {
  away.state = State::kHere;
  away.wanted = false;
  for (const AwaySegment::Waiter& waiter : std::exchange(away.waiters, {})) Seek(waiter, at, false, actions);
}

void PoolCore::RefuseWaiters(AwaySegment& away, Refusal why, const std::string& text, Actions* actions) {
  for (const AwaySegment::Waiter& waiter : std::exchange(away.waiters, {}))
    actions->push_back(pool::RefuseOpen{waiter.reader, waiter.request, why, text});
}

void PoolCore::FailAway(AwaySegment& away, const std::string& why, Actions* actions) {
  away.state = State::kFailed;
  away.claimed_by = 0;
  away.why = why.substr(0, kWhyMax);
  RefuseWaiters(away, Refusal::kGone, away.why, actions);
}

// ---- what is lost with a machine, and made again ----------------------------------------------------------------

bool PoolCore::Remake(ClientId client, ClientId dead, const std::vector<std::uint32_t>& segments) {
  Client* entry = FindMutable(dead);
  if (!entry) return true;  // forgotten meanwhile: nobody reads its names any more
  if (entry->state != ClientState::kDead || !entry->untold.contains(client)) return false;
  for (const std::uint32_t segment : segments) {
    const auto at = entry->away.find(segment);
    if (at == entry->away.end() || at->second.state != State::kLost) continue;
    at->second.state = State::kClaimed;
    at->second.claimed_by = client;
  }
  return true;
}

void PoolCore::Remade(ClientId client, SegmentPlace lost, SegmentPlace to, const std::string& text, Actions* actions) {
  Client* dead = FindMutable(lost.client);
  if (!dead) return;
  const auto at = dead->away.find(lost.segment);
  if (at == dead->away.end() || at->second.state != State::kClaimed || at->second.claimed_by != client) return;
  AwaySegment& away = at->second;
  if (to.client == 0) return FailAway(away, text.empty() ? kNotMadeAgain : text, actions);
  const Client* owner = Find(to.client);
  bool exists = owner && owner->job == dead->job;
  if (exists && to.segment >= limits::kAwayFirst) {
    exists = owner->away.contains(to.segment);
  } else if (exists) {
    const auto memory = owner->segments.find(to.segment);
    exists = memory != owner->segments.end() && memory->second.sealed;
  }
  if (!exists) return FailAway(away, "it was made again, but what stands in for it is gone", actions);
  away.state = State::kRemade;
  away.claimed_by = 0;
  away.to = to;
  for (const AwaySegment::Waiter& waiter : std::exchange(away.waiters, {})) Seek(waiter, lost, false, actions);
}

// Of one that has just died. Memory that nobody will ever fill goes at once; what is still being made, when it is made.
void PoolCore::LoseAway(Client& dead, Actions* actions) {
  for (auto& [number, away] : dead.away) {
    if (away.state == State::kHere) continue;
    if (away.state == State::kFilling && dead.segments.at(number).made) EraseMemory(dead, number, actions);
    away.state = State::kLost;
    away.wanted = false;
  }
}

// Nobody says any more that it will make something of it again.
void PoolCore::SettleAway(Client& dead, Actions* actions) const {
  for (auto& [number, away] : dead.away)
    if (away.state == State::kLost) FailAway(away, kNotMadeAgain, actions);
}

// One that has died or left waits for nothing, and makes nothing again.
void PoolCore::LeaveAway(const Client& gone, Actions* actions) {
  for (auto& [id, owner] : clients_) {
    if (owner.job != gone.job) continue;
    for (auto& [number, away] : owner.away) {
      std::erase_if(away.waiters, [&](const AwaySegment::Waiter& waiter) { return waiter.reader == gone.id; });
      if (away.state == State::kClaimed && away.claimed_by == gone.id)
        FailAway(away, "it lay on a machine that is gone, and so is the process that would have made it again",
                 actions);
    }
  }
}

void PoolCore::ForgetAway(Client& forgotten, Actions* actions) {
  for (auto& [number, away] : forgotten.away) RefuseWaiters(away, Refusal::kGone, "that client is gone", actions);
  // Who asked by a name of it and was sent on.
  for (auto& [id, owner] : clients_) {
    if (owner.job != forgotten.job) continue;
    for (auto& [number, away] : owner.away) {
      const auto asked_for_it = [&](const AwaySegment::Waiter& waiter) { return waiter.asked.client == forgotten.id; };
      for (const AwaySegment::Waiter& waiter : away.waiters)
        if (asked_for_it(waiter))
          actions->push_back(pool::RefuseOpen{waiter.reader, waiter.request, Refusal::kGone, "that client is gone"});
      std::erase_if(away.waiters, asked_for_it);
    }
  }
}

void PoolCore::CheckAway(const Client& client) const {
  const bool alive = client.state == ClientState::kAlive;
  SHEAF_CHECK(client.away.empty() || (client.role == Role::kRelay && client.away.size() <= limits::kAwayMax));
  for (const auto& [number, segment] : client.segments) {
    if (number < limits::kAwayFirst) continue;
    const auto at = client.away.find(number);
    const bool used =
        at != client.away.end() && (at->second.state == State::kFilling || at->second.state == State::kHere);
    // What else has such a number is memory that goes as soon as it is made.
    SHEAF_CHECK(used ? !segment.given_up : !segment.made && (segment.given_up || !alive));
  }
  for (const auto& [number, away] : client.away) {
    SHEAF_CHECK(IsAwayNumber(number) && away.bytes > 0 && away.bytes <= limits::kSegmentBytesMax);
    const auto memory = client.segments.find(number);
    const bool has_memory = memory != client.segments.end();
    SHEAF_CHECK((away.state == State::kHere) == (has_memory && memory->second.sealed));
    if (away.state == State::kFilling) SHEAF_CHECK(has_memory);
    SHEAF_CHECK(away.state == State::kHere || alive == (away.state == State::kAway || away.state == State::kFilling));
    SHEAF_CHECK(away.state != State::kLost || !client.untold.empty());
    const Client* claimer = Find(away.claimed_by);
    SHEAF_CHECK((away.state == State::kClaimed) == (away.claimed_by != 0));
    SHEAF_CHECK(away.claimed_by == 0 ||
                (claimer && claimer->job == client.job && !claimer->left && claimer->state == ClientState::kAlive));
    SHEAF_CHECK(away.waiters.empty() || (MayStillCome(away.state) && (!alive || away.wanted)));
    SHEAF_CHECK(away.waiters.size() <= limits::kAwayWaitersMax);
    for (const AwaySegment::Waiter& waiter : away.waiters) {
      const Client* reader = Find(waiter.reader);
      SHEAF_CHECK(reader && reader->job == client.job && reader->state == ClientState::kAlive && !reader->left);
      SHEAF_CHECK(clients_.contains(waiter.asked.client));
    }
  }
}

}  // namespace sheaf
