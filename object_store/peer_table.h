// What this process has mapped of its own and of other clients' memory: (client, segment, offset) -> address.
//
// Look-ups are lock-free (an acquire load per level); entries are added under a mutex and removed only when nothing in this process
// uses the client any more. Nothing read from another process is trusted: indices and sizes are checked here.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>

#include "base/limits.h"
#include "object_store/mapping.h"
#include "object_store/segment_layout.h"

namespace sheaf::store {

inline constexpr std::uint32_t IndexOf(std::uint32_t client) { return client & (limits::kClientsMax - 1); }

class Peer {
 public:
  explicit Peer(std::uint32_t client) : client_(client) {}

  std::uint32_t client() const { return client_; }
  const ControlHeader* control() const { return reinterpret_cast<const ControlHeader*>(Base(0)); }
  std::byte* Base(std::uint32_t segment) const {
    if (segment >= limits::kSegmentsMax) return nullptr;
    const Chunk* chunk = chunks_[segment / kChunk].load(std::memory_order_acquire);
    return chunk ? chunk->base[segment % kChunk].load(std::memory_order_acquire) : nullptr;
  }
  std::uint64_t Bytes(std::uint32_t segment) const {
    const Chunk* chunk = chunks_[segment / kChunk].load(std::memory_order_acquire);
    return chunk ? chunk->bytes[segment % kChunk] : 0;
  }
  // The slot, or nullptr while its slab is not mapped here or does not exist.
  const Slot* FindSlot(std::uint32_t slot) const {
    const std::uint32_t slab = SlabOf(slot), place = PlaceOf(slot);
    if (slab >= limits::kSlabsMax || place >= limits::SlabSlots(slab)) return nullptr;
    const std::byte* base = slabs_[slab].load(std::memory_order_acquire);
    return base ? reinterpret_cast<const Slot*>(base) + place : nullptr;
  }

  std::atomic<std::int64_t> uses{0};  // roots and pairs here that name this client; guards kGoneAck
  std::atomic<bool> gone{false};      // dead: expect nothing new from it
  std::atomic<bool> acknowledged{false};

 private:
  friend class PeerTable;
  static constexpr std::uint32_t kChunk = 128;
  struct Chunk {
    std::array<std::atomic<std::byte*>, kChunk> base{};
    std::array<std::uint64_t, kChunk> bytes{};
  };
  const std::uint32_t client_;
  std::array<std::atomic<Chunk*>, limits::kSegmentsMax / kChunk> chunks_{};
  std::array<std::atomic<std::byte*>, limits::kSlabsMax> slabs_{};
};

class PeerTable {
 public:
  // `open` maps a segment of another client read-only by asking the pool; an empty mapping: gone or refused.
  using Open = std::function<Mapping(std::uint32_t client, std::uint32_t segment)>;
  explicit PeerTable(Open open) : open_(std::move(open)) {}
  ~PeerTable();
  // What is mapped stays so when the table ends, for handles that live longer.
  void LeaveMapped() { leave_mapped_ = true; }

  // The peer, or nullptr if nothing of it was mapped yet. Checks the incarnation.
  Peer* Find(std::uint32_t client) const {
    Peer* peer = peers_[IndexOf(client)].load(std::memory_order_acquire);
    return peer && peer->client() == client ? peer : nullptr;
  }
  Peer* FindByIndex(std::uint32_t index) const { return peers_[index].load(std::memory_order_acquire); }
  Peer* FindOrAdd(std::uint32_t client);
  void Add(Peer& peer, std::uint32_t segment, Mapping mapping);
  void AddSlab(Peer& peer, std::uint32_t slab, std::byte* base);  // own slabs: right after they are mapped

  // May ask the pool (first sight of a segment); nullptr: gone, or the location makes no sense.
  const std::byte* Resolve(const WireLoc& loc, std::uint64_t bytes) {
    const Peer* peer = Find(loc.client);
    std::byte* base = peer ? peer->Base(loc.segment) : nullptr;
    return base ? Bounded(*peer, base, loc, bytes) : ResolveUnknown(loc, bytes);
  }
  const Slot* ResolveSlot(std::uint32_t client, std::uint32_t slot);
  const ControlHeader* ResolveControl(std::uint32_t client);

  void Unmap(std::uint32_t client, std::uint32_t segment);  // its owner dropped the segment
  // Takes the client out of the table at once, as its index may be lent again; what was mapped stays until Destroy, for
  // threads that are still inside a look.
  Peer* Detach(std::uint32_t client);
  static void Destroy(Peer* peer);

  template <class F>
  void ForEach(F f) const {
    const std::uint32_t end = high_.load(std::memory_order_acquire);
    for (std::uint32_t i = 0; i < end; ++i)
      if (Peer* peer = peers_[i].load(std::memory_order_acquire)) f(*peer);
  }

 private:
  static const std::byte* Bounded(const Peer& peer, std::byte* base, const WireLoc& loc, std::uint64_t bytes) {
    const std::uint64_t size = peer.Bytes(loc.segment);
    return loc.offset > size || bytes > size - loc.offset ? nullptr : base + loc.offset;
  }
  const std::byte* ResolveUnknown(const WireLoc& loc, std::uint64_t bytes);
  std::byte* OpenSegment(Peer& peer, std::uint32_t segment);

  Open open_;
  bool leave_mapped_ = false;
  std::mutex mutex_;
  std::array<std::atomic<Peer*>, limits::kClientsMax> peers_{};
  std::atomic<std::uint32_t> high_{0};
};

}  // namespace sheaf::store
