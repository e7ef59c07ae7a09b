#include "runtime/prober.h"

#include <algorithm>
#include <cstring>

#include "base/pair_ring.h"

namespace sheaf::runtime {

using store::HomeKind;
using store::HomeWord;

namespace {

const store::InRegion* FindInRegion(Context& context, std::uint32_t index, std::uint32_t region) {
  store::Peer* worker = context.peers().FindByIndex(index);
  const store::ControlHeader* control = worker ? worker->control() : nullptr;
  if (!control) {
    const std::uint32_t client = context.page.clients[index].client.load(std::memory_order_acquire);
    if (client == 0) return nullptr;
    control = context.peers().ResolveControl(client);
    worker = context.peers().Find(client);
    if (!control || !worker) return nullptr;
  }
  const std::uint64_t offset = store::InOffset(control->out_regions) + region * sizeof(store::InRegion);
  if (region >= control->in_regions || offset + sizeof(store::InRegion) > worker->Bytes(0)) return nullptr;
  return reinterpret_cast<const store::InRegion*>(reinterpret_cast<const std::byte*>(control) + offset);
}

}  // namespace

Probed Probe(Context& context, const ObjectId& id, PayloadCopy* copy) {
  constexpr int kHeirsInARow = 64;
  bool owed = false;
  Probed result = ProbeHome(context, id, copy, &owed);
  ObjectId at = id;
  for (int hop = 0; result.state == Probed::kLost && owed && hop < kHeirsInARow; ++hop) {
    switch (context.heirs().Find(at, &at)) {
      case Heirs::Answer::kUnknown:
        if (context.pool_lost()) return result;  // nobody tells us any more
        result = {};
        return result;
      case Heirs::Answer::kNone:
        return result;
      case Heirs::Answer::kHeir:
        result = ProbeHome(context, at, copy, &owed);
    }
  }
  return result;
}

bool LeadsToValue(Context& context, ObjectId id, std::uint32_t unwrap) {
  for (;; --unwrap) {
    PayloadCopy copy;
    const Probed probed = Probe(context, id, &copy);
    if (probed.state != Probed::kValue) return probed.state == Probed::kLost;
    // A ref that is a whole value is never in a block.
    if (unwrap == 0 || (probed.flags & (store::kFlagError | store::kFlagBlockPayload)) || probed.size < 16) return true;
    std::uint32_t words[4];
    std::memcpy(words, probed.in_place ? probed.in_place : reinterpret_cast<const std::byte*>(copy.data()),
                sizeof words);
    id = {words[0], words[1], words[2]};
  }
}

Probed ProbeHome(Context& context, const ObjectId& id, PayloadCopy* copy, bool* owed) {
  if (owed) *owed = false;
  const auto lost = [&](Probed& result) {
    result.state = Probed::kLost;
    // Of a client that is forgotten nobody may ask any more.
    if (owed)
      *owed = context.page.clients[store::IndexOf(id.client)].client.load(std::memory_order_acquire) == id.client;
    return result;
  };
  const store::Slot* slot = context.peers().ResolveSlot(id.client, id.slot);
  Probed result;
  if (!slot) {
    result.state = Probed::kLost;
    return result;
  }
  const store::HomeSlot& home = slot->home;
  for (int look = 0; look < 8; ++look) {
    // Death is read before the words: what a dead process published before is seen by the looks that follow.
    const bool creator_dead = context.IsDead(id.client);
    const std::uint64_t word = home.word.load(std::memory_order_acquire);
    if (home.generation.load(std::memory_order_relaxed) != id.generation) {
      result.state = Probed::kLost;
      return result;
    }
    const HomeWord where = HomeWord::Unpack(word);
    if (where.kind == HomeKind::kValue) {
      result = {Probed::kValue, where.flags, std::min(home.size, limits::kPayloadInline), 0, home.payload};
      return result;
    }
    if (where.kind != HomeKind::kBound) return creator_dead ? lost(result) : result;
    const std::uint32_t worker_id = context.page.clients[where.worker].client.load(std::memory_order_acquire);
    const bool worker_dead = context.IsDead(worker_id);
    const store::InRegion* in = FindInRegion(context, where.worker, where.region);
    if (!in) return creator_dead ? lost(result) : result;
    const bool ended = in->ended.load(std::memory_order_acquire) == in->nonce.load(std::memory_order_acquire);
    const store::Completion& done = store::CompletionAt(*in, static_cast<int>(where.lane), where.position);
    Ring::Result read;
    const auto capacity = static_cast<std::uint32_t>(copy->size());
    switch (Ring::ReadForeign(*in, done, where.position, home.word, word, id.client, &read, copy->data(), capacity)) {
      case Ring::Foreign::kRead:
        if (read.flags & store::kFlagGivenBack) {
          if (!creator_dead) break;
          return lost(result);  // nobody pushes it again
        }
        result.state = Probed::kValue;
        result.flags = read.flags;
        result.size = read.size;
        result.in_place = nullptr;
        return result;
      case Ring::Foreign::kTorn:
        continue;  // the creator has consumed it meanwhile: its home word has moved on
      case Ring::Foreign::kAbsent:
        break;
    }
    if (home.word.load(std::memory_order_acquire) != word) continue;
    result.bound = word;
    return creator_dead && (ended || worker_dead) ? lost(result) : result;
  }
  return result;
}

}  // namespace sheaf::runtime
