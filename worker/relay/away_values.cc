#include "worker/relay/away_values.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/clock.h"

namespace sheaf::relay {

using detail::Pin;
using runtime::BlockRoot;

namespace {

constexpr std::size_t kValuesMax = 1024;              // that are away at once
constexpr std::uint32_t kNumbersSpare = 4096;         // what one value may want
constexpr std::int64_t kNoRoomNanos = 1'000'000'000;  // after a try that found no memory

constexpr std::int64_t kGiveUpNanos = 10'000'000'000;

std::uint64_t RoomBytes(std::uint64_t size) { return store::AlignUp(size, 4096); }

}  // namespace

AwayValues::AwayValues(runtime::Context& context, Fetcher& fetcher, std::uint64_t bytes_max, Events events)
    : context_(context), fetcher_(fetcher), bytes_max_(bytes_max), events_(std::move(events)) {
  context_.submitter().on_away_free = [this](std::uint32_t segment) { Freed(segment); };
}

std::optional<NewBlock> AwayValues::NewNumber(std::uint64_t bytes) {
  std::uint32_t number = 0;
  {
    std::lock_guard lock(mutex_);
    if (!free_numbers_.empty()) {
      number = free_numbers_.back();
      free_numbers_.pop_back();
    } else if (next_number_ < limits::kSegmentsMax) {
      number = next_number_++;
    } else {
      return std::nullopt;
    }
  }
  auto* root = new BlockRoot;
  root->kind = runtime::kBlockRoot;
  root->block = {nullptr, number, 0, bytes};
  return NewBlock{{Pin::Share(root), nullptr, bytes, {context_.client, number, 0}}, nullptr};
}

bool AwayValues::HasNumbers() const {
  std::lock_guard lock(mutex_);
  return limits::kSegmentsMax - next_number_ >= kNumbersSpare;
}

void AwayValues::Add(Name name, const detail::ObjectId& object, std::vector<OfferedBlock> blocks,
                     const std::vector<std::uint32_t>& indices) {
  std::vector<wire::AwayEntry> entries;
  {
    std::lock_guard lock(mutex_);
    Value& value = values_[name];
    SHEAF_CHECK(value.parts.empty() && blocks.size() == indices.size());
    value.object = object;
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      const detail::Block& block = blocks[i].block;
      Part part;
      part.segment = block.loc.segment;
      part.index = indices[i];
      part.size = block.size;
      part.root = static_cast<BlockRoot*>(block.pin.get());
      part.offer = blocks[i].offer;
      by_segment_[part.segment] = name;
      value.bytes += part.size;
      wire::AwayEntry entry{part.segment, 0, RoomBytes(part.size), {}};
      static_assert(sizeof entry.offer == sizeof part.offer);
      std::memcpy(entry.offer, &part.offer, sizeof part.offer);
      entries.push_back(entry);
      value.parts.push_back(std::move(part));
    }
    bytes_ += value.bytes;
    ++away_;
  }
  for (std::size_t at = 0; at < entries.size(); at += wire::kAwayEntriesMax) {
    const std::span<const wire::AwayEntry> some{entries.data() + at,
                                                std::min(wire::kAwayEntriesMax, entries.size() - at)};
    context_.socket().Send(wire::Bare{}, wire::Kind::kAway, std::as_bytes(some));
  }
  std::lock_guard lock(mutex_);
  if (NowNanos() - no_room_ < kNoRoomNanos) return;
  for (auto& [other, value] : values_) {
    if (bytes_ <= bytes_max_ && away_ <= kValuesMax) break;
    FetchLocked(other, value, FetchClass::kPrefetch);
  }
}

void AwayValues::FetchLocked(Name name, Value& value, FetchClass wanted) {
  if (value.state != State::kAway) return;
  std::vector<OfferedBlock> blocks;
  for (Part& part : value.parts) {
    Pin pin = part.root ? runtime::PinIfHeld(part.root) : Pin();
    if (!pin) continue;
    if (!value.in_stream)
      blocks.push_back({part.offer, {pin, nullptr, part.size, {context_.client, part.segment, 0}}, nullptr});
    value.pins.push_back(std::move(pin));
  }
  if (value.pins.empty()) return;
  value.state = State::kComing;
  bytes_ -= value.bytes;
  --away_;
  fetcher_.Add(
      name, wanted, std::move(blocks), false, [this, name](bool ok, const std::string& why) { Fetched(name, ok, why); },
      [this, name](std::vector<OfferedBlock>* to, std::string* why) { return MakeRoom(name, to, why); });
}

void AwayValues::Fetch(std::uint32_t segment) {
  std::lock_guard lock(mutex_);
  const auto found = by_segment_.find(segment);
  if (found == by_segment_.end()) return;
  fetcher_.Raise(found->second);  // it may be under way already, and nobody was in a hurry
  FetchLocked(found->second, values_.at(found->second), FetchClass::kResult);
}

void AwayValues::FetchAll() {
  std::lock_guard lock(mutex_);
  if (away_ == 0 || NowNanos() - no_room_ < kNoRoomNanos) return;
  for (auto& [name, value] : values_) FetchLocked(name, value, FetchClass::kPrefetch);
}

// ---- while it comes ---------------------------------------------------------------------------------------------

bool AwayValues::MakeRoom(Name name, std::vector<OfferedBlock>* blocks, std::string* why) {
  std::vector<std::uint32_t> segments;
  std::vector<std::uint64_t> sizes;
  {
    std::lock_guard lock(mutex_);
    for (const Pin& pin : values_.at(name).pins) {
      const auto& block = static_cast<BlockRoot*>(pin.get())->block;
      segments.push_back(block.segment);
      sizes.push_back(block.capacity);
    }
  }
  for (std::size_t i = 0; i < segments.size(); ++i) {
    store::Mapping room = context_.MakeAway(segments[i], RoomBytes(sizes[i]), why);
    std::lock_guard lock(mutex_);
    Value& value = values_.at(name);
    value.no_room = !room.ok();
    if (value.no_room) return false;
    if (i < blocks->size()) (*blocks)[i].to = room.base();
    for (Part& part : value.parts)
      if (part.segment == segments[i]) part.room = std::move(room);
  }
  return true;
}

void AwayValues::Fetched(Name name, bool ok, const std::string& why) {
  bool in_stream = false, no_room = false;
  {
    std::lock_guard lock(mutex_);
    Value& value = values_.at(name);
    no_room = std::exchange(value.no_room, false);
    if (!no_room && (!ok || value.in_stream)) in_stream = value.in_stream = value.expected = true;
  }
  if (in_stream) {
    expected_.fetch_add(1, std::memory_order_release);  // before the other half can answer
    return events_.fetch_again(name);
  }
  ok ? Came(name) : DidNotCome(name, why);
}

void AwayValues::Came(Name name) {
  std::vector<std::pair<std::uint32_t, store::Mapping>> rooms;
  std::vector<Pin> pins;  // dropped at the end: whoever drops a last one comes back here
  detail::ObjectId object;
  std::uint64_t bytes = 0;
  {
    std::lock_guard lock(mutex_);
    Value& value = values_.at(name);
    for (Part& part : value.parts)
      if (part.room.ok()) rooms.emplace_back(part.segment, std::move(part.room));
    pins.swap(value.pins);
    object = value.object;
    bytes = value.bytes;
  }
  for (auto& [segment, room] : rooms) context_.AwayIsHere(segment, std::move(room));
  {
    std::lock_guard lock(mutex_);
    values_.at(name).state = State::kHere;
    no_room_since_ = 0;
  }
  events_.let_go(name, bytes);
  events_.arrived(object);
}

void AwayValues::DidNotCome(Name name, const std::string& why) {
  constexpr std::size_t kTextMax = 1024;
  std::vector<store::Mapping> rooms;
  std::vector<Pin> pins;
  {
    std::lock_guard lock(mutex_);
    Value& value = values_.at(name);
    for (Part& part : value.parts) rooms.push_back(std::move(part.room));
    pins.swap(value.pins);
    const std::int64_t now = NowNanos();
    if (no_room_since_ == 0 || now - no_room_ > kGiveUpNanos / 2) no_room_since_ = now;
    no_room_ = now;
  }
  rooms.clear();  // before the pool gives the memory to others
  // Said before anybody can try again: the pool would take the next try's memory for this one's.
  std::lock_guard lock(mutex_);
  Value& value = values_.at(name);
  value.state = State::kAway;
  bytes_ += value.bytes;
  ++away_;
  wire::Refused refused{};
  refused.why = wire::Refusal::kOutOfMemory;
  for (const Pin& pin : pins) {
    refused.shape = static_cast<BlockRoot*>(pin.get())->block.segment;
    context_.socket().Send(refused, wire::Kind::kNotFetched,
                           std::as_bytes(std::span(why.data(), std::min(why.size(), kTextMax))));
  }
}

bool AwayValues::ComesInStream(Name name) const {
  if (expected_.load(std::memory_order_acquire) == 0) return false;
  std::lock_guard lock(mutex_);
  const auto found = values_.find(name);
  return found != values_.end() && found->second.expected;
}

std::optional<NewBlock> AwayValues::Room(Name name, std::uint32_t index, std::uint64_t bytes) {
  std::lock_guard lock(mutex_);
  for (Part& part : values_.at(name).parts)
    if (part.index == index && part.size == bytes && part.room.ok() && !std::exchange(part.filled, true))
      return NewBlock{{Pin::Share(part.root), part.room.base(), bytes, {context_.client, part.segment, 0}},
                      part.room.base()};
  return std::nullopt;
}

bool AwayValues::CameInStream(Name name, bool ok) {
  bool all = true;
  {
    std::lock_guard lock(mutex_);
    Value& value = values_.at(name);
    value.expected = false;
    expected_.fetch_sub(1, std::memory_order_relaxed);
    for (Part& part : value.parts) all &= std::exchange(part.filled, false) || !part.room.ok();
  }
  if (!ok) {
    DidNotCome(name, "no memory for a value that comes from another machine");
  } else if (all) {
    Came(name);
  }
  return all || !ok;
}

bool AwayValues::no_room_for_long() const {
  std::lock_guard lock(mutex_);
  const std::int64_t now = NowNanos();
  return no_room_since_ != 0 && now - no_room_ < kGiveUpNanos / 2 && no_room_ - no_room_since_ > kGiveUpNanos;
}

// ---- let go -----------------------------------------------------------------------------------------------------

void AwayValues::Freed(std::uint32_t segment) {
  std::lock_guard lock(mutex_);
  const auto found = by_segment_.find(segment);
  if (found == by_segment_.end()) return free_numbers_.push_back(segment);  // of a form that was not read to its end
  Value& value = values_.at(found->second);
  bool all = true;
  for (Part& part : value.parts) {
    if (part.segment == segment) part.root = nullptr;
    all &= part.root == nullptr;
  }
  if (!all) return;
  freed_.push_back(found->second);
  has_freed_.store(true, std::memory_order_release);
}

void AwayValues::Sweep() {
  if (!has_freed_.load(std::memory_order_acquire)) return;
  std::vector<std::pair<Name, Value>> over;
  {
    std::lock_guard lock(mutex_);
    has_freed_.store(false, std::memory_order_relaxed);
    for (const Name name : std::exchange(freed_, {})) {
      auto node = values_.extract(name);
      SHEAF_CHECK(!node.empty() && node.mapped().state != State::kComing);
      for (const Part& part : node.mapped().parts) by_segment_.erase(part.segment);
      if (node.mapped().state == State::kAway) {
        bytes_ -= node.mapped().bytes;
        --away_;
      }
      over.emplace_back(name, std::move(node.mapped()));
    }
  }
  for (const auto& [name, value] : over) {
    for (const Part& part : value.parts) context_.DropAway(part.segment);
    if (value.state == State::kHere) continue;
    events_.let_go(name, value.bytes);
    std::lock_guard lock(mutex_);
    for (const Part& part : value.parts) free_numbers_.push_back(part.segment);
  }
}

bool AwayValues::empty() const {
  std::lock_guard lock(mutex_);
  return std::ranges::all_of(values_, [](const auto& value) { return value.second.state == State::kHere; });
}

}  // namespace sheaf::relay
