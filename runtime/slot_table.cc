#include "runtime/slot_table.h"

#include <sys/mman.h>

#include "base/check.h"

namespace sheaf::runtime {

void SlotTable::AddSlab(const store::OwnSegment& segment) {
  const std::uint32_t index = count_.load(std::memory_order_relaxed);
  SHEAF_CHECK(index < limits::kSlabsMax && segment.bytes >= store::SlabBytes(index));
  Slab slab;
  slab.slots = reinterpret_cast<store::Slot*>(segment.base);
  // Zero pages come from the kernel as they are touched: an unused slab costs nothing. All-zero is a free root. Never
  // unmapped: a ref may outlive Shutdown, and counts itself down here. An Init costs a process what it has used of this.
  const std::size_t bytes = limits::SlabSlots(index) * sizeof(ObjectRoot);
  void* roots = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  SHEAF_CHECK(roots != MAP_FAILED);
  slab.roots = static_cast<ObjectRoot*>(roots);
  slabs_[index] = slab;
  count_.store(index + 1, std::memory_order_release);
  control_->slab_segment[index].store(segment.segment, std::memory_order_relaxed);
  control_->slab_count.store(index + 1, std::memory_order_release);
}

ObjectRoot* SlotTable::Allocate() {
  std::uint32_t slot = 0;
  if (!free_.empty()) {
    slot = free_.back();
    free_.pop_back();
    if (free_.size() >= kAhead) {
      // A slot that is used again was last read by a worker. Asked for early, its lines are ours when the task is written.
      const std::uint32_t next = free_[free_.size() - kAhead];
      PrefetchHome(next);
      const auto* record =
          reinterpret_cast<const std::byte*>(&slabs_[store::SlabOf(next)].slots[store::PlaceOf(next)].task);
      PrefetchForWriting(record);
      PrefetchForWriting(record + 64);
    }
  } else {
    std::uint32_t count = count_.load(std::memory_order_relaxed);
    if (count == 0 || slabs_[count - 1].used == limits::SlabSlots(count - 1)) {
      if (count == limits::kSlabsMax) return nullptr;
      const store::OwnSegment segment = make_slab_(store::SlabBytes(count));
      if (!segment.base) return nullptr;
      AddSlab(segment);
      count = count_.load(std::memory_order_relaxed);
    }
    slot = (count - 1) << 16 | slabs_[count - 1].used++;
    RootOf(slot)->life = detail::this_life.load(std::memory_order_relaxed);
  }
  ObjectRoot* root = RootOf(slot);
  SHEAF_CHECK(root->phase == Phase::kFree);
  root->kind = kObjectRoot;
  root->slot = slot;
  root->result_record = 0;
  root->pair = kNoPair;
  root->attempt = 1;
  root->retries = 0;
  root->extra = nullptr;
  store::HomeSlot& home = SlotOf(*root).home;
  home.generation.store(home.generation.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  home.word.store(store::HomeWord{store::HomeKind::kPending}.Pack(), std::memory_order_release);
  ++live_;
  return root;
}

void SlotTable::Free(ObjectRoot* root) {
  SHEAF_CHECK(root->phase == Phase::kReady && live_ > 0);
  root->phase = Phase::kFree;
  SlotOf(*root).home.word.store(0, std::memory_order_release);
  free_.push_back(root->slot);
  --live_;
}

}  // namespace sheaf::runtime
