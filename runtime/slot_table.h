// Our own home slots: slabs of shared memory that only this process writes, and beside each slot its private root.
// Not synchronised: the Submitter's mutex guards it; only slots that exist may be looked at without it. Slots are reused
// last-in first-out, so that they stay warm.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/prefetch.h"
#include "object_store/segment_layout.h"
#include "runtime/roots.h"

namespace sheaf::runtime {

class SlotTable {
 public:
  using MakeSlab = std::function<store::OwnSegment(std::uint64_t bytes)>;
  SlotTable(store::ControlHeader* control, MakeSlab make_slab) : control_(control), make_slab_(std::move(make_slab)) {}

  void AddSlab(const store::OwnSegment& segment);
  // A slot with home word kPending and a new generation; nullptr: the pool has no memory for another slab.
  ObjectRoot* Allocate();
  void Free(ObjectRoot* root);

  store::Slot& SlotOf(const ObjectRoot& root) const {
    return slabs_[store::SlabOf(root.slot)].slots[store::PlaceOf(root.slot)];
  }
  // Both parts of a slot that is in use or free, root and home word, soon to be written. Reads neither.
  void PrefetchHome(std::uint32_t slot) const {
    const Slab& slab = slabs_[store::SlabOf(slot)];
    PrefetchForWriting(slab.roots + store::PlaceOf(slot));
    PrefetchForWriting(slab.slots + store::PlaceOf(slot));
  }
  ObjectRoot* RootOf(std::uint32_t slot) const {
    const std::uint32_t slab = store::SlabOf(slot), place = store::PlaceOf(slot);
    if (slab >= count_.load(std::memory_order_acquire) || place >= limits::SlabSlots(slab)) return nullptr;
    return &slabs_[slab].roots[place];
  }
  std::uint64_t live() const { return live_; }
  template <class F>
  void ForEachLive(F f) {
    const std::uint32_t count = count_.load(std::memory_order_relaxed);
    for (std::uint32_t s = 0; s < count; ++s)
      for (std::uint32_t i = 0; i < slabs_[s].used; ++i)
        if (slabs_[s].roots[i].phase != Phase::kFree) f(slabs_[s].roots[i]);
  }

 private:
  static constexpr std::size_t kAhead = 2;  // how many allocations early a slot is asked for

  struct Slab {
    store::Slot* slots = nullptr;
    ObjectRoot* roots = nullptr;  // lives until the process ends: a ref may outlive Shutdown
    std::uint32_t used = 0;
  };
  store::ControlHeader* control_;
  MakeSlab make_slab_;
  // Never moves: a thread that waits for its object looks at its slot while another one gets a new slab.
  std::array<Slab, limits::kSlabsMax> slabs_{};
  std::atomic<std::uint32_t> count_{0};
  std::vector<std::uint32_t> free_;
  std::uint64_t live_ = 0;
};

}  // namespace sheaf::runtime
