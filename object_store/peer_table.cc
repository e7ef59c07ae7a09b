#include "object_store/peer_table.h"

#include <sys/mman.h>

#include "base/check.h"

namespace sheaf::store {

PeerTable::~PeerTable() {
  if (leave_mapped_) return;
  for (auto& entry : peers_) Destroy(entry.exchange(nullptr));
}

void PeerTable::Destroy(Peer* peer) {
  if (!peer) return;
  for (auto& entry : peer->chunks_) {
    Peer::Chunk* chunk = entry.load();
    if (!chunk) continue;
    for (std::uint32_t i = 0; i < Peer::kChunk; ++i)
      if (std::byte* base = chunk->base[i].load()) munmap(base, chunk->bytes[i]);
    delete chunk;
  }
  delete peer;
}

Peer* PeerTable::FindOrAdd(std::uint32_t client) {
  if (Peer* peer = Find(client)) return peer;
  std::lock_guard lock(mutex_);
  auto& entry = peers_[IndexOf(client)];
  Peer* peer = entry.load(std::memory_order_acquire);
  if (peer && peer->client() == client) return peer;
  // The pool reuses an index only after everybody acknowledged the death of its last holder.
  if (peer) return nullptr;
  peer = new Peer(client);
  entry.store(peer, std::memory_order_release);
  if (high_.load(std::memory_order_relaxed) <= IndexOf(client))
    high_.store(IndexOf(client) + 1, std::memory_order_release);
  return peer;
}

void PeerTable::Add(Peer& peer, std::uint32_t segment, Mapping mapping) {
  SHEAF_CHECK(segment < limits::kSegmentsMax && mapping.ok());
  std::lock_guard lock(mutex_);
  auto& entry = peer.chunks_[segment / Peer::kChunk];
  Peer::Chunk* chunk = entry.load(std::memory_order_acquire);
  if (!chunk) {
    chunk = new Peer::Chunk;
    entry.store(chunk, std::memory_order_release);
  }
  auto& base = chunk->base[segment % Peer::kChunk];
  if (base.load(std::memory_order_relaxed)) return;  // another thread was faster
  chunk->bytes[segment % Peer::kChunk] = mapping.bytes();
  base.store(mapping.Leak(), std::memory_order_release);
}

void PeerTable::AddSlab(Peer& peer, std::uint32_t slab, std::byte* base) {
  peer.slabs_[slab].store(base, std::memory_order_release);
}

std::byte* PeerTable::OpenSegment(Peer& peer, std::uint32_t segment) {
  if (std::byte* base = peer.Base(segment)) return base;
  if (segment >= limits::kSegmentsMax) return nullptr;
  Mapping mapping = open_(peer.client(), segment);
  if (!mapping.ok()) return nullptr;
  Add(peer, segment, std::move(mapping));
  return peer.Base(segment);
}

const std::byte* PeerTable::ResolveUnknown(const WireLoc& loc, std::uint64_t bytes) {
  Peer* peer = FindOrAdd(loc.client);
  std::byte* base = peer ? OpenSegment(*peer, loc.segment) : nullptr;
  return base ? Bounded(*peer, base, loc, bytes) : nullptr;
}

const ControlHeader* PeerTable::ResolveControl(std::uint32_t client) {
  const auto* header = reinterpret_cast<const ControlHeader*>(Resolve({client, 0, 0}, sizeof(ControlHeader)));
  return header && header->magic == kControlMagic && header->client == client ? header : nullptr;
}

const Slot* PeerTable::ResolveSlot(std::uint32_t client, std::uint32_t slot) {
  Peer* peer = Find(client);
  if (!peer) peer = FindOrAdd(client);
  if (!peer) return nullptr;
  if (const Slot* found = peer->FindSlot(slot)) return found;
  const std::uint32_t slab = SlabOf(slot);
  if (slab >= limits::kSlabsMax || PlaceOf(slot) >= limits::SlabSlots(slab)) return nullptr;
  const ControlHeader* control = ResolveControl(client);
  if (!control || slab >= control->slab_count.load(std::memory_order_acquire)) return nullptr;
  const std::uint32_t segment = control->slab_segment[slab].load(std::memory_order_acquire);
  std::byte* base = OpenSegment(*peer, segment);
  if (!base || peer->Bytes(segment) < SlabBytes(slab)) return nullptr;
  AddSlab(*peer, slab, base);
  return peer->FindSlot(slot);
}

void PeerTable::Unmap(std::uint32_t client, std::uint32_t segment) {
  Peer* peer = Find(client);
  if (!peer || segment >= limits::kSegmentsMax) return;
  std::lock_guard lock(mutex_);
  Peer::Chunk* chunk = peer->chunks_[segment / Peer::kChunk].load(std::memory_order_acquire);
  if (!chunk) return;
  if (std::byte* base = chunk->base[segment % Peer::kChunk].exchange(nullptr))
    munmap(base, chunk->bytes[segment % Peer::kChunk]);
}

Peer* PeerTable::Detach(std::uint32_t client) {
  std::lock_guard lock(mutex_);
  auto& entry = peers_[IndexOf(client)];
  Peer* peer = entry.load(std::memory_order_acquire);
  if (!peer || peer->client() != client) return nullptr;
  entry.store(nullptr, std::memory_order_release);
  return peer;
}

}  // namespace sheaf::store
