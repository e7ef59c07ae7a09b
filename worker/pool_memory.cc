// Segments: made, given to their writer, sealed, lent to readers.
#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/failpoint.h"
#include "worker/pool_send.h"

namespace sheaf {
namespace {

using wire::Kind;
using wire::Refusal;

constexpr const char* kNames[] = {"sheaf-control", "sheaf-slab", "sheaf-arena", "sheaf-large"};

}  // namespace

wire::Refusal PoolServer::WhyNoMemory(int error) {
  return error == EMFILE || error == ENFILE ? Refusal::kLimit : Refusal::kOutOfMemory;
}

std::string PoolServer::TextNoMemory(int error) {
  if (error == EMFILE || error == ENFILE) return "the pool is out of file descriptors: raise its limit (ulimit -n)";
  return std::string("the machine has no memory left for the store: ") + std::strerror(error);
}

bool PoolServer::TakeFirstSet(FirstSet* set, int* error) {
  if (!prepared_.empty()) {
    *set = std::move(prepared_.front());
    prepared_.pop_front();
    return true;
  }
  return MakeFirstSet(set, error);
}

bool PoolServer::MakeFirstSet(FirstSet* set, int* error) const {
  const PoolCore::Config& config = core_->config();
  set->control = MakeSegmentFd(kNames[0], store::ControlBytes(config.pairs, config.pairs), error);
  if (set->control) set->slab = MakeSegmentFd(kNames[1], store::SlabBytes(0), error);
  if (set->slab) set->arena = MakeSegmentFd(kNames[2], config.first_arena_bytes, error);
  return static_cast<bool>(set->arena);
}

// While a worker's process starts, its memory is made; when it attaches, the set lies ready. One more is made when the
// pool has nothing else to do: a millisecond of page faults must not lie on the way of anybody who waits.
void PoolServer::PrepareSets(bool quiet) {
  std::size_t wanted = quiet ? 1 : 0;
  for (const auto& [spawn, entry] : spawns_) wanted += entry.client == 0;
  wanted = std::min(wanted, kPreparedMax);
  while (prepared_.size() < wanted && now_ >= prepare_at_) {
    FirstSet set;
    int error = 0;
    if (MakeFirstSet(&set, &error)) {
      prepared_.push_back(std::move(set));
    } else {
      prepare_at_ = now_ + 1000 * kMilli;  // no memory: try again later, and tell whoever needs it then
    }
  }
}

bool PoolServer::Publish(SegmentFds& fds) {
  int error = 0;
  if (!SealForReaders(fds.writable.get())) return false;
  fds.readable = ReopenReadOnly(fds.writable.get(), &error);
  fds.writable.Reset();
  return static_cast<bool>(fds.readable);
}

void PoolServer::MakeSegment(Connection& connection, std::uint64_t request, const MakeSegmentMessage& message) {
  Making making{connection.client, 0, request};
  making.segment = message.segment;
  const PoolCore::Verdict verdict =
      message.segment ? core_->FillAway(connection.client, message.segment, message.kind, message.bytes)
                      : core_->MakeSegment(connection.client, message.kind, message.bytes, &making.segment);
  if (verdict.why == Refusal::kOutOfMemory && AskForMemory(connection.number, request, message)) return;
  if (!verdict) return Refuse(connection, request, verdict.why, verdict.text);
  const auto& segment = core_->Find(connection.client)->segments.at(making.segment);
  const char* name = kNames[static_cast<std::size_t>(segment.kind)];
  if (segment.bytes > kPopulateInlineMax) {
    making_.emplace(next_ticket_, making);
    maker_.Request(next_ticket_++, name, segment.bytes);
    return;
  }
  int error = 0;
  Fd fd = MakeSegmentFd(name, segment.bytes, &error);
  Finish(making, std::move(fd), error);
}

void PoolServer::TakeMade() {
  for (SegmentMaker::Made& made : maker_.Take()) {
    const auto at = making_.find(made.ticket);
    if (at == making_.end()) continue;
    const Making making = at->second;
    making_.erase(at);
    Finish(making, std::move(made.fd), made.error);
  }
}

void PoolServer::Finish(const Making& making, Fd fd, int error) {
  const bool kept = core_->SegmentMade(making.owner, making.segment, static_cast<bool>(fd));
  Connection* connection = ConnectionOf(making.owner);
  if (!fd && connection) Refuse(*connection, making.request, WhyNoMemory(error), TextNoMemory(error));
  if (fd && !kept && connection) Refuse(*connection, making.request, Refusal::kGone, "it was given up meanwhile");
  if (!kept) return;
  const auto& segment = core_->Find(making.owner)->segments.at(making.segment);
  const wire::SegmentName name{{}, making.owner, making.segment, segment.kind, 0, segment.bytes};
  const int raw = fd.get();
  memory_.at(making.owner).segments[making.segment].writable = std::move(fd);
  SHEAF_FAILPOINT("pool.segment.before_answer");
  if (connection) Send(*connection, Kind::kSegmentMade, making.request, name, {&raw, 1});
}

void PoolServer::SegmentMapped(Connection& connection, std::uint32_t segment) {
  PoolCore::Actions actions;
  if (!core_->SegmentMapped(connection.client, segment, &actions)) {
    return Cut(connection, "it says it has mapped a segment that it was not given");
  }
  const bool published = Publish(memory_.at(connection.client).segments.at(segment));
  Apply(actions);
  if (!published) Cut(connection, "its segment cannot be sealed");
}

// What the owner of this name has said of it, before it named it to anybody, may still lie in the owner's own socket: that
// it is mapped, or that it lies elsewhere.
void PoolServer::HearOwner(ClientId client, SegmentPlace name) {
  const PoolCore::Client* owner = core_->Find(name.client);
  if (!owner || name.client == client) return;
  const auto named = owner->segments.find(name.segment);
  const bool known = named != owner->segments.end()
                         ? named->second.sealed || owner->away.contains(name.segment)
                         : name.segment < limits::kAwayFirst || owner->away.contains(name.segment);
  // Who is heard may name a third one's segment: honest clients do so a few deep.
  if (known || hearing_ == kHearingMax) return;
  ++hearing_;
  if (const auto at = memory_.find(name.client); at != memory_.end()) ReadAll(at->second.connection);
  --hearing_;
}

void PoolServer::OpenSegment(Connection& connection, std::uint64_t request, const OpenSegmentMessage& message) {
  const SegmentPlace name{message.client, message.segment};
  HearOwner(connection.client, name);
  if (message.segment >= limits::kAwayFirst) {
    PoolCore::Actions actions;
    core_->OpenAway(connection.client, name, message.now, request, &actions);
    return Apply(actions);
  }
  const PoolCore::Verdict verdict = core_->OpenSegment(connection.client, message.client, message.segment);
  if (!verdict) return Refuse(connection, request, verdict.why, verdict.text);
  AnswerOpen({connection.client, request, name, name});
}

void PoolServer::AnswerOpen(const pool::AnswerOpen& answer) {
  Connection* to = ConnectionOf(answer.to);
  if (!to) return;
  // While the actions before this one were carried out, somebody may have been cut off, and what was to be lent with it.
  const PoolCore::Client* owner = core_->Find(answer.at.client);
  const auto memory = memory_.find(answer.at.client);
  const SegmentFds* fds = nullptr;
  if (owner && owner->segments.contains(answer.at.segment) && memory != memory_.end()) {
    const auto at = memory->second.segments.find(answer.at.segment);
    if (at != memory->second.segments.end() && at->second.readable) fds = &at->second;
  }
  if (!fds) return Refuse(*to, answer.request, Refusal::kGone, "that segment is gone");
  const auto& segment = owner->segments.at(answer.at.segment);
  const int fd = fds->readable.get();
  const wire::SegmentName name{{}, answer.asked.client, answer.asked.segment, segment.kind, 0, segment.bytes};
  Send(*to, Kind::kSegmentOpened, answer.request, name, {&fd, 1});
}

void PoolServer::AnswerAway(const pool::AnswerAway& answer) {
  Connection* to = ConnectionOf(answer.to);
  if (!to) return;
  const PoolCore::Client* owner = core_->Find(answer.at.client);
  const auto at = owner ? owner->away.find(answer.at.segment) : decltype(owner->away.find(0)){};
  if (!owner || at == owner->away.end()) return Refuse(*to, answer.request, Refusal::kGone, "that segment is gone");
  const PoolCore::AwaySegment& away = at->second;
  const wire::SegmentName name{{}, answer.asked.client, answer.asked.segment, wire::SegmentKind::kLarge, 1, away.bytes};
  const std::string_view offer{reinterpret_cast<const char*>(away.offer.data()), away.offer.size()};
  Send(*to, Kind::kSegmentAway, answer.request, name, {}, offer);
}

void PoolServer::Fetch(Connection& connection, const FetchMessage& message) {
  const SegmentPlace name{message.client, message.segment};
  HearOwner(connection.client, name);
  PoolCore::Actions actions;
  core_->Fetch(connection.client, name, &actions);
  Apply(actions);
}

void PoolServer::Remade(Connection& connection, const RemadeMessage& message) {
  const SegmentPlace place{message.client, message.in};
  HearOwner(connection.client, place);
  PoolCore::Actions actions;
  core_->Remade(connection.client, {message.dead, message.segment}, place, message.text, &actions);
  Apply(actions);
}

}  // namespace sheaf
