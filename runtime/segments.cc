// Memory of this process and of others, by way of the pool: made, dropped, opened. Any thread; each call waits for its answer.
#include <algorithm>
#include <chrono>
#include <cstring>

#include "base/clock.h"
#include "runtime/blocked_notice.h"
#include "runtime/context.h"
#include "sheaf/error.h"

namespace sheaf::runtime {

namespace {

constexpr auto kReadSlice = std::chrono::milliseconds(5);
constexpr std::int64_t kReadPatienceNanos = 100'000'000;  // a transfer is no reason to start another process at once

}  // namespace

store::OwnBlock Context::Allocate(std::uint64_t bytes) {
  if (TaskRunner* runner = this->runner(); runner && bytes >= limits::kLargeBlockBytes) runner->TakeReleases();
  const store::OwnBlock block = heap_->Allocate(bytes);
  if (block.data) return block;
  {
    Submitter::Lock lock(*submitter_);
    if (!submitter_->DropLineageLocked(true)) return block;
  }
  return heap_->Allocate(bytes);
}

store::OwnSegment Context::MakeSegment(wire::SegmentKind kind, std::uint64_t bytes) {
  wire::MakeSegment ask{};
  ask.kind = kind;
  ask.bytes = bytes;
  auto answer = socket_->Call(ask, wire::Kind::kMakeSegment);
  const auto* made = answer ? answer->As<wire::SegmentName>() : nullptr;
  if (!made || made->header.kind != wire::Kind::kSegmentMade || answer->fds.size() != 1) return {};
  store::Mapping mapping = store::Mapping::Map(answer->fds[0].get(), made->bytes, store::Access::kReadWrite);
  if (!mapping.ok()) return {};
  wire::SegmentName mapped = *made;
  mapped.header = {};
  const store::OwnSegment segment{made->segment, mapping.base(), mapping.bytes()};
  peers_->Add(*peers_->Find(client), made->segment, std::move(mapping));
  socket_->Send(mapped, wire::Kind::kSegmentMapped);
  return segment;
}

void Context::DropSegment(const store::OwnSegment& segment) {
  peers_->Unmap(client, segment.segment);
  wire::SegmentName name{};
  name.client = client;
  name.segment = segment.segment;
  name.kind = wire::SegmentKind::kLarge;
  name.bytes = segment.bytes;
  socket_->Send(name, wire::Kind::kDropSegment);
}

// Others need it now. What was remembered goes as well, but for what lies on other machines: that would be lost with them.
void Context::GiveBack() {
  {
    Submitter::Lock lock(*submitter_);
    submitter_->DropLineageLocked(false);
  }
  heap_->DropIdle();
}

UniqueFd Context::OpenDescriptor(std::uint32_t owner, std::uint32_t segment, std::uint64_t* bytes) {
  wire::SegmentName ask{};
  ask.client = owner;
  ask.segment = segment;
  auto answer = socket_->Call(ask, wire::Kind::kOpenSegment);
  const auto* opened = answer ? answer->As<wire::SegmentName>() : nullptr;
  if (!opened || opened->header.kind != wire::Kind::kSegmentOpened || answer->fds.size() != 1) return {};
  if (bytes) *bytes = opened->bytes;
  return std::move(answer->fds[0]);
}

// The answer may take as long as a transfer, or as a second run of the task that made it. The executor's thread stays useful meanwhile.
std::optional<Message> Context::AwaitSegment(std::uint64_t request) {
  TaskRunner* runner = this->runner();
  const bool on_executor = runner && runner->OnThisThread();
  BlockedNotice blocked(*this, on_executor, kReadPatienceNanos);
  for (const std::int64_t start = NowNanos(); request != 0;) {
    if (auto answer = socket_->AwaitAnswer(request, kReadSlice)) return answer;
    if (socket_->lost() || pool_lost() || stop_.load(std::memory_order_acquire)) break;
    if (!on_executor) continue;
    runner->WorkWhileWaiting();
    blocked.OnSleep(NowNanos() - start);
  }
  return {};
}

// Of an away segment (docs/decisions/0012) this waits for its bytes, so no thread may come here that others wait for.
store::Mapping Context::OpenSegment(std::uint32_t peer, std::uint32_t segment) {
  wire::SegmentName ask{};
  ask.client = peer;
  ask.segment = segment;
  const bool away = segment >= limits::kAwayFirst;
  auto answer =
      away ? AwaitSegment(socket_->Ask(ask, wire::Kind::kOpenSegment)) : socket_->Call(ask, wire::Kind::kOpenSegment);
  if (!answer) return {};
  if (answer->kind() == wire::Kind::kRefused && away) {
    const auto* refused = answer->As<wire::Refused>();
    const std::string why = answer->Tail<wire::Refused>();
    if (refused && refused->why == wire::Refusal::kOutOfMemory)
      throw OutOfMemoryError("no room for a block that lies on another machine: " + why);
    throw ObjectLostError("a block of this object is lost: " + why);
  }
  const auto* opened = answer->As<wire::SegmentName>();
  if (!opened || opened->header.kind != wire::Kind::kSegmentOpened || answer->fds.size() != 1) return {};
  return store::Mapping::Map(answer->fds[0].get(), opened->bytes, store::Access::kReadOnly);
}

Context::Whereabouts Context::LookForSegment(std::uint32_t owner, std::uint32_t segment, AwayOffer* offer) {
  store::Peer* peer = peers_->FindOrAdd(owner);
  if (!peer) return Whereabouts::kGone;
  if (peer->Base(segment)) return Whereabouts::kHere;
  wire::SegmentName ask{};
  ask.client = owner;
  ask.segment = segment;
  ask.now = 1;
  auto answer = socket_->Call(ask, wire::Kind::kOpenSegment);
  if (!answer) return Whereabouts::kGone;
  if (answer->kind() == wire::Kind::kSegmentOpened) {
    const auto* opened = answer->As<wire::SegmentName>();
    if (!opened || answer->fds.size() != 1) return Whereabouts::kGone;
    store::Mapping mapping = store::Mapping::Map(answer->fds[0].get(), opened->bytes, store::Access::kReadOnly);
    if (!mapping.ok()) return Whereabouts::kGone;
    peers_->Add(*peer, segment, std::move(mapping));
    return Whereabouts::kHere;
  }
  if (answer->kind() == wire::Kind::kSegmentAway) {
    const std::string tail = answer->Tail<wire::SegmentName>();
    if (tail.size() != offer->size()) return Whereabouts::kGone;
    std::memcpy(offer->data(), tail.data(), tail.size());
    return Whereabouts::kAway;
  }
  const auto* refused = answer->As<wire::Refused>();
  const bool later = answer->kind() == wire::Kind::kRefused && refused && refused->why == wire::Refusal::kLater;
  return later ? Whereabouts::kLater : Whereabouts::kGone;
}

void Context::WillRead(std::uint32_t owner, std::uint32_t segment) {
  wire::SegmentName name{};
  name.client = owner;
  name.segment = segment;
  socket_->Send(name, wire::Kind::kFetch);
}

// ---- of a relay's near half -------------------------------------------------------------------------------------

store::Mapping Context::MakeAway(std::uint32_t segment, std::uint64_t bytes, std::string* why) {
  wire::MakeSegment ask{};
  ask.kind = wire::SegmentKind::kLarge;
  ask.segment = segment;
  ask.bytes = bytes;
  auto answer = socket_->Call(ask, wire::Kind::kMakeSegment);
  if (answer && answer->kind() == wire::Kind::kRefused) {
    heap_->DropIdle();  // kept for blocks of other numbers
    answer = socket_->Call(ask, wire::Kind::kMakeSegment);
  }
  const auto* made = answer ? answer->As<wire::SegmentName>() : nullptr;
  if (made && made->header.kind == wire::Kind::kSegmentMade && answer->fds.size() == 1) {
    store::Mapping mapping = store::Mapping::Map(answer->fds[0].get(), made->bytes, store::Access::kReadWrite);
    if (mapping.ok()) return mapping;
    *why = std::string("it cannot be mapped: ") + std::strerror(errno);
    return {};
  }
  *why = answer && answer->kind() == wire::Kind::kRefused ? answer->Tail<wire::Refused>() : "the pool is gone";
  return {};
}

void Context::AwayIsHere(std::uint32_t segment, store::Mapping mapping) {
  wire::SegmentName name{};
  name.client = client;
  name.segment = segment;
  name.kind = wire::SegmentKind::kLarge;
  name.bytes = mapping.bytes();
  peers_->Add(*peers_->Find(client), segment, std::move(mapping));
  socket_->Send(name, wire::Kind::kSegmentMapped);
}

}  // namespace sheaf::runtime
