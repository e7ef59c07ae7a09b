#include "runtime/prober.h"

#include <algorithm>

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
    if (where.kind != HomeKind::kBound) {
      result.state = creator_dead ? Probed::kLost : Probed::kPending;
      return result;
    }
    const std::uint32_t worker_id = context.page.clients[where.worker].client.load(std::memory_order_acquire);
    const bool worker_dead = context.IsDead(worker_id);
    const store::InRegion* in = FindInRegion(context, where.worker, where.region);
    if (!in) {
      result.state = creator_dead ? Probed::kLost : Probed::kPending;
      return result;
    }
    const bool ended = in->ended.load(std::memory_order_acquire) == in->nonce.load(std::memory_order_acquire);
    const store::Completion& done = store::CompletionAt(*in, static_cast<int>(where.lane), where.position);
    Ring::Result read;
    const auto capacity = static_cast<std::uint32_t>(copy->size());
    switch (Ring::ReadForeign(*in, done, where.position, home.word, word, id.client, &read, copy->data(), capacity)) {
      case Ring::Foreign::kRead:
        if (read.flags & store::kFlagGivenBack) {
          if (!creator_dead) break;
          result.state = Probed::kLost;  // nobody pushes it again
          return result;
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
    result.state = creator_dead && (ended || worker_dead) ? Probed::kLost : Probed::kPending;
    return result;
  }
  return result;
}

}  // namespace sheaf::runtime
