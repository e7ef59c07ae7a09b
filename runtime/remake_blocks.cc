// Blocks that lay on a machine that is gone: claimed, and replaced by those of a second run. docs/decisions/0012.
#include <algorithm>
#include <cstring>

#include "runtime/remaker.h"
#include "sheaf/error.h"

namespace sheaf::runtime {

using detail::Stored;

namespace {

constexpr std::size_t kClaimsMax = 8192;  // in one message
constexpr std::size_t kRefBytes = 16;

// At the same place of another value. False: there is none.
bool RecordAt(const Stored& value, std::size_t at, store::BlockRecord* record) {
  if (at + sizeof *record > value.payload.size()) return false;
  std::memcpy(record, value.payload.data() + at, sizeof *record);
  return true;
}

// But for the records themselves: what a value says of its blocks (how many, how long, in which order) belongs to them.
bool SameButForRecords(const Stored& a, const Stored& b) {
  if (a.payload.size() != b.payload.size() || !std::ranges::equal(a.marks, b.marks)) return false;
  std::size_t at = 0;
  for (std::size_t i = 0; i + sizeof(std::uint32_t) <= a.marks.size(); i += sizeof(std::uint32_t)) {
    std::uint32_t mark = 0;
    std::memcpy(&mark, a.marks.data() + i, sizeof mark);
    const bool ref = mark & detail::Encoder::kMarkRef;
    const std::size_t offset = mark & ~detail::Encoder::kMarkRef;
    if (offset < at || offset + (ref ? kRefBytes : sizeof(store::BlockRecord)) > a.payload.size()) return false;
    if (std::memcmp(a.payload.data() + at, b.payload.data() + at, offset - at) != 0) return false;
    at = offset + (ref ? kRefBytes : sizeof(store::BlockRecord));
  }
  return std::memcmp(a.payload.data() + at, b.payload.data() + at, a.payload.size() - at) == 0;
}

}  // namespace

std::vector<Remaker::LostBlock> Remaker::AwayBlocksOf(const Stored& value, std::uint32_t client) const {
  std::vector<LostBlock> blocks = BlocksOf(value);
  std::erase_if(blocks, [client](const LostBlock& block) {
    return block.segment < limits::kAwayFirst || (client != 0 && block.client != client);
  });
  return blocks;
}

std::vector<Remaker::LostBlock> Remaker::BlocksOf(const Stored& value) {
  std::vector<LostBlock> blocks;
  for (std::size_t i = 0; i + sizeof(std::uint32_t) <= value.marks.size(); i += sizeof(std::uint32_t)) {
    std::uint32_t mark = 0;
    std::memcpy(&mark, value.marks.data() + i, sizeof mark);
    store::BlockRecord named{};
    if ((mark & detail::Encoder::kMarkRef) || !RecordAt(value, mark, &named)) continue;
    blocks.push_back({named.loc.client, named.loc.segment, named.size, mark});
  }
  return blocks;
}

void Remaker::ClaimBlocks(const std::vector<LostBlock>& blocks, std::uint32_t dead) {
  wire::PeerName name{};
  name.peer = dead;
  std::vector<std::uint32_t> segments;
  for (const LostBlock& block : blocks) {
    segments.push_back(block.segment);
    if (segments.size() < kClaimsMax && &block != &blocks.back()) continue;
    context_.socket().Send(name, wire::Kind::kRemake, std::as_bytes(std::span(segments)));
    segments.clear();
  }
}

void Remaker::SayLost(std::uint32_t dead, const LostBlock& block, const std::string& why) {
  constexpr std::size_t kTextMax = 1024;
  wire::Remade remade{};
  remade.dead = dead;
  remade.segment = block.segment;
  context_.socket().Send(remade, wire::Kind::kRemade,
                         std::as_bytes(std::span(why.data(), std::min(why.size(), kTextMax))));
}

void Remaker::ReplaceBlock(std::uint32_t dead, const LostBlock& block, const Stored& value, std::vector<Pin>* copies) {
  store::BlockRecord named{};
  if (!RecordAt(value, block.at, &named) || named.size != block.size)
    return SayLost(dead, block, "its task was run again, and returned something of another size");
  if (named.loc.offset != 0) {  // a part of something larger: what stands in is the whole of a segment
    const std::byte* from = context_.peers().Resolve(named.loc, named.size);
    if (!from) return SayLost(dead, block, "its task was run again, and the result was lost as well");
    detail::WritableBlock copy(named.size);
    std::memcpy(copy.data(), from, named.size);
    const detail::Block sealed = std::move(copy).Seal();
    copies->push_back(sealed.pin);
    named.loc = {sealed.loc.client, sealed.loc.segment, sealed.loc.offset};
  }
  wire::Remade remade{};
  remade.dead = dead;
  remade.segment = block.segment;
  remade.client = named.loc.client;
  remade.in = named.loc.segment;
  context_.socket().Send(remade, wire::Kind::kRemade);
}

// Small blocks came with the value: those of the second run must be the same.
bool Remaker::SameBlocksBeside(const Stored& old, const Stored& value) const {
  for (const LostBlock& block : BlocksOf(old)) {
    store::BlockRecord before{}, now{};
    if (block.segment >= limits::kAwayFirst) continue;
    if (!RecordAt(old, block.at, &before) || !RecordAt(value, block.at, &now) || before.size != now.size) return false;
    if (now.loc.segment >= limits::kAwayFirst) return false;
    const std::byte* a = context_.peers().Resolve(before.loc, before.size);
    const std::byte* b = context_.peers().Resolve(now.loc, now.size);
    if (!a || !b || std::memcmp(a, b, before.size) != 0) return false;
  }
  return true;
}

bool Remaker::AnyIsHere(std::uint32_t dead, const std::vector<LostBlock>& blocks) const {
  return std::ranges::any_of(blocks, [&](const LostBlock& block) {
    Context::AwayOffer offer{};
    return context_.LookForSegment(dead, block.segment, &offer) == Context::Whereabouts::kHere;
  });
}

bool Remaker::TryReplaceBlocks(Remake& remake) {
  if (remake.blocks.empty()) return true;
  const std::uint32_t dead = remake.task.made_by;
  std::string why;
  try {
    if (!remake.done && !RanAgain(remake)) return false;
    const Stored old = ValueOf(*remake.task.root, remake.task.pin);
    if (remake.value.error) {
      why = "its task was run again, and failed: " + detail::DescribeError(remake.value);
    } else if (!SameButForRecords(old, remake.value)) {
      why = "its task was run again, and returned something of another shape";
    } else if (AnyIsHere(dead, remake.blocks) || !SameBlocksBeside(old, remake.value)) {
      why = "a part of it had come before, and parts of two runs make no value";
    }
    remake.stands_in.push_back(remake.again.pin);
    while (why.empty() && !remake.blocks.empty()) {
      ReplaceBlock(dead, remake.blocks.back(), remake.value, &remake.stands_in);
      remake.blocks.pop_back();
    }
  } catch (const Error& error) {
    why = std::string("making it again has failed: ") + error.what();
  }
  for (const LostBlock& block : remake.blocks) SayLost(dead, block, why);
  remake.blocks.clear();
  if (remake.promise.pin) {
    context_.submitter().KeepPromise(static_cast<ObjectRoot*>(remake.promise.pin.get()), 0, {}, {});
    remake.promise = {};
  }
  return true;
}

}  // namespace sheaf::runtime
