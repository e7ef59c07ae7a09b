// Where the bytes of a task's inputs lie. What a machine was sent, or has made, stays there for a while (worker/relay/names.h): a task
// that needs it starts there sooner than where it would have to be sent first. An estimate: who is wrong sends it once more. What is away
// (docs/decisions/0012) lies there alone.
//
// An object that tasks wait for again and again, while other machines are idle, moves once they have waited as long as the move takes
// (the rent-or-buy rule: Karlin, Manasse, Rudolph and Sleator, "Competitive snoopy caching", Algorithmica 3, 1988: at most twice the
// cost of knowing beforehand).
#include <algorithm>
#include <cstring>
#include <utility>

#include "base/clock.h"
#include "runtime/submitter.h"

namespace sheaf::runtime {

using store::HomeWord;

namespace {

constexpr std::uint64_t kLargeBytes = 256 * 1024;  // below it the time of a move is that of any message
constexpr std::int64_t kNanosPerByte = 1;          // a link of 8 Gbit/s
constexpr std::int64_t kThereNanos = 4'000'000'000;
constexpr std::size_t kMarksLooked = 64, kThereMax = 4096, kLooks = 8;

}  // namespace

// What its value takes: the payload and the blocks that it names. 0: not known yet.
std::uint64_t Submitter::BytesLocked(const ObjectRoot& input) const {
  const store::HomeSlot& home = HomeOf(input);
  const HomeWord word = HomeWord::Unpack(home.word.load(std::memory_order_relaxed));
  if (word.kind != store::HomeKind::kValue || (word.flags & store::kFlagError)) return 0;
  std::span<const std::byte> payload{home.payload, std::min<std::uint32_t>(home.size, limits::kPayloadInline)};
  std::uint64_t bytes = 0;
  if (word.flags & store::kFlagBlockPayload) {
    store::BlockRecord named{};
    if (payload.size() < sizeof named) return 0;
    std::memcpy(&named, payload.data(), sizeof named);
    bytes = named.size;
    // What is not mapped here is not asked for: this is on the way of every task.
    const store::Peer* peer = word.flags & store::kFlagMarked ? parts_.peers->Find(named.loc.client) : nullptr;
    const std::byte* base = peer && named.loc.segment < limits::kSegmentsMax ? peer->Base(named.loc.segment) : nullptr;
    const std::uint64_t size = base ? peer->Bytes(named.loc.segment) : 0;
    if (!base || named.loc.offset > size || named.size > size - named.loc.offset) return bytes;
    payload = {base + named.loc.offset, named.size};
  }
  std::span<const std::byte> marks;
  if (!(word.flags & store::kFlagMarked) || !detail::SplitMarks(&payload, &marks)) return bytes;
  const std::size_t count = std::min(marks.size() / sizeof(std::uint32_t), kMarksLooked);
  for (std::size_t i = 0; i < count; ++i) {
    std::uint32_t mark = 0;
    std::memcpy(&mark, marks.data() + i * sizeof mark, sizeof mark);
    store::BlockRecord named{};
    if ((mark & detail::Encoder::kMarkRef) || mark + sizeof named > payload.size()) continue;
    std::memcpy(&named, payload.data() + mark, sizeof named);
    bytes += named.size;
  }
  return bytes;
}

// Objects of ours with large values, among the first few that a task holds. f(key, bytes, the relay where they lie; 0: here).
template <class F>
void Submitter::ForEachLargeInputLocked(const ObjectRoot& root, F f) const {
  if (!root.extra) return;
  std::size_t looks = 0;
  for (const Pin& hold : root.extra->holds) {
    if (hold.get()->kind != kObjectRoot) continue;
    if (++looks > kLooks) break;
    const auto& input = *static_cast<const ObjectRoot*>(hold.get());
    if (const std::uint64_t bytes = BytesLocked(input); bytes >= kLargeBytes) f(KeyLocked(input), bytes, AwayAt(input));
  }
}

std::uint64_t Submitter::KeyLocked(const ObjectRoot& object) const {
  return std::uint64_t{object.slot} << 32 | HomeOf(object).generation.load(std::memory_order_relaxed);
}

bool Submitter::MovesLocked(const ObjectRoot& root, Moves* moves) const {
  bool any = false;
  ForEachLargeInputLocked(root, [&](std::uint64_t key, std::uint64_t bytes, std::uint32_t away_at) {
    if (!std::exchange(any, true)) moves->fill(0);
    const auto waited = waited_.find(key);
    const std::int64_t move = std::max<std::int64_t>(
        static_cast<std::int64_t>(bytes) * kNanosPerByte - (waited == waited_.end() ? 0 : waited->second), 0);
    for (std::size_t i = 0; i < static_cast<std::size_t>(core_.size()); ++i) {
      const OutPair* pair = pairs_[i].load(std::memory_order_relaxed);
      if (!pair || !pair->in_use || (pair->places == 0 && away_at == 0)) continue;
      if (away_at != 0 && pair->peer == away_at) continue;
      const auto found = pair->there.find(key);
      if (found != pair->there.end() && core_.clock() - found->second < kThereNanos) continue;
      (*moves)[i] += move;
    }
  });
  return any;
}

void Submitter::NoteInputsThereLocked(OutPair& pair, const ObjectRoot& root) {
  ForEachLargeInputLocked(root, [&](std::uint64_t key, std::uint64_t, std::uint32_t) { NoteThereLocked(pair, key); });
}

void Submitter::NoteResultThereLocked(OutPair& pair, const ObjectRoot& result) {
  if (BytesLocked(result) >= kLargeBytes) NoteThereLocked(pair, KeyLocked(result));
}

void Submitter::NoteThereLocked(OutPair& pair, std::uint64_t key) {
  const std::int64_t now = NowNanos();
  if (const auto known = pair.there.find(key); known != pair.there.end()) {
    if (now - known->second >= kThereNanos) waited_.erase(key);
    known->second = now;
    return;
  }
  if (pair.there.size() >= kThereMax && now - pair.swept >= kThereNanos / 4) {
    pair.swept = now;
    std::erase_if(pair.there, [now](const auto& entry) { return now - entry.second >= kThereNanos; });
  }
  if (pair.there.size() >= kThereMax) return;
  pair.there.emplace(key, now);
  waited_.erase(key);
}

// A task stays with the bytes of its inputs, and could start so much earlier elsewhere, where somebody is idle.
void Submitter::NoteLateLocked(const ObjectRoot& root, std::int64_t late) {
  if (late <= 0) return;
  if (waited_.size() >= kThereMax) waited_.clear();
  ForEachLargeInputLocked(root, [&](std::uint64_t key, std::uint64_t, std::uint32_t) { waited_[key] += late; });
}

}  // namespace sheaf::runtime
