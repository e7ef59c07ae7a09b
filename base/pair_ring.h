// The code of a ring pair: push, claim, recall, publish, read, and the two rings of ended promises.
//
// One submitter and one worker, each with a half of the pair that it alone writes; a foreign reader
// may look at completions. docs/dispatch.md tells the protocol. Everything here is a template over
// the memory it works on, so that the very code that runs between processes is also run by the
// model checker (tests/base/pair_ring_model_test.cc), which tries every interleaving, every delay
// of a store and every death.
//
// The functions take the regions by duck type: the fields have the names of
// object_store/segment_layout.h. A position is 32 bits and wraps; a tag is position + 1. Nothing
// here blocks, allocates or trusts: a value of the peer's that makes no sense costs the peer its
// own pair.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/barrier.h"

namespace sheaf {

// The machine's memory. Every access of PairRing goes through one of these.
struct MachineMemory {
  template <class T>
  static T Load(const std::atomic<T>& word) {  // acquire
    return word.load(std::memory_order_acquire);
  }
  template <class T>
  static T LoadOwn(const std::atomic<T>& word) {  // of a word that this process writes
    return word.load(std::memory_order_relaxed);
  }
  template <class T>
  static void Store(std::atomic<T>& word, T value) {  // release
    word.store(value, std::memory_order_release);
  }
  static void Barrier() { FullBarrier(); }
};

template <class Memory>
class PairRing {
 public:
  // Whether a comes after b, on the circle of positions.
  static bool After(std::uint32_t a, std::uint32_t b) { return static_cast<std::int32_t>(a - b) > 0; }

  // ---- submitter

  // The record in `slot` must be complete. Ring the bell afterwards if SleeperMissed says so, once
  // for many pushes.
  template <class Word>
  static void Push(Word* ring, std::uint32_t depth, std::uint32_t position, std::uint32_t slot) {
    const std::uint64_t tag = position + 1u;  // wraps in 32 bits
    Memory::Store(ring[position & (depth - 1)], (tag << 32) | slot);
  }

  // Whether the peer sleeps and was not yet rung for this sleep. `rung`: the last value that was
  // rung for.
  template <class Word>
  static bool SleeperMissed(const Word& asleep, std::uint32_t* rung) {
    // The entries before the look: the sleeper writes its word before it looks at the entries.
    Memory::Barrier();
    const std::uint32_t sleep = Memory::Load(asleep);
    if (sleep == 0 || sleep == *rung) return false;
    *rung = sleep;
    return true;
  }

  // A recall in the submitter's private memory. While it is open nothing may be pushed on lane 0.
  struct Recall {
    bool open = false;
    std::uint32_t from = 0, end = 0;  // what was asked for: positions, half open
    std::uint32_t taken = 0;          // [taken, end) is the submitter's again
  };

  // Asks for everything up to `tail` that has not begun. False: all of it has. Otherwise
  // [recall->taken, end) is the caller's at once; what it names must stay as it is until
  // SettleRecall, as the worker may be reading it.
  template <class Out, class In>
  static bool OpenRecall(Out& out, const In& in, std::uint32_t tail, Recall* recall) {
    const std::uint32_t claimed = Memory::Load(in.claimed[0]);
    if (!After(tail, claimed)) return false;
    recall->from = claimed;
    recall->end = tail;
    Memory::Store(out.recall_from, claimed);
    Memory::Store(out.recall_end, tail);
    Memory::Store(out.recall_epoch, Memory::LoadOwn(out.recall_epoch) + 1u);
    Memory::Barrier();  // either we see a claim, or its worker sees the recall
    std::uint32_t first = Memory::Load(in.claimed[0]);
    if (After(claimed, first) || After(first, tail)) first = tail;  // nonsense
    recall->taken = first;
    recall->open = true;
    return true;
  }

  // False while the worker has not acknowledged. Otherwise the recall is over, and [recall->taken,
  // *before) is now the caller's too: a claim that backed off.
  template <class Out, class In>
  static bool SettleRecall(const Out& out, const In& in, Recall* recall, std::uint32_t* before) {
    if (Memory::Load(in.recall_ack) != Memory::LoadOwn(out.recall_epoch)) return false;
    const std::uint32_t first = Memory::Load(in.recall_first_not_run);
    *before = recall->taken;
    // At most one before what was asked for: a claim that we saw, and that backed off all the same.
    if (!After(recall->from, first + 1u) && After(recall->taken, first)) recall->taken = first;
    recall->open = false;
    return true;
  }

  // The worker is dead and its completions are consumed: the first position of the lane that has
  // not begun. All before it may have run, in part. A claim from which the worker backed off has
  // not begun.
  template <class Out, class In>
  static std::uint32_t FirstNotBegun(const Out& out, const In& in, int lane, const Recall& recall) {
    const std::uint32_t claimed = Memory::Load(in.claimed[lane]);
    // Only while the recall is unsettled: the words of an old one say nothing about what was pushed
    // since.
    if (lane != 0 || !recall.open) return claimed;
    if (Memory::Load(in.recall_ack) != Memory::LoadOwn(out.recall_epoch)) return claimed;
    const std::uint32_t first = Memory::Load(in.recall_first_not_run);
    return claimed == first + 1u ? first : claimed;
  }

  // ---- worker

  // The entry at `position`, if it is there.
  template <class Word>
  static bool Peek(const Word* ring, std::uint32_t depth, std::uint32_t position, std::uint32_t* slot) {
    const std::uint64_t entry = Memory::Load(ring[position & (depth - 1)]);
    if (static_cast<std::uint32_t>(entry >> 32) != position + 1u) return false;
    *slot = static_cast<std::uint32_t>(entry);
    return true;
  }

  // The worker's private view of lane 0.
  struct Cursor {
    std::uint32_t next = 0;          // position to look at
    std::uint32_t recall_acked = 0;  // the last epoch it has acknowledged
  };

  template <class Out>
  static bool RecallIsOpen(const Out& out, const Cursor& cursor) {
    return Memory::Load(out.recall_epoch) != cursor.recall_acked;
  }

  // Gives up everything from cursor->next to the end of the recall. A claim that has not begun
  // counts as not run: next still names it.
  template <class Out, class In>
  static void AcknowledgeRecall(const Out& out, In& in, Cursor* cursor) {
    const std::uint32_t epoch = Memory::Load(out.recall_epoch);
    const std::uint32_t end = Memory::Load(out.recall_end);
    Memory::Store(in.recall_first_not_run, cursor->next);
    if (After(end, cursor->next)) cursor->next = end;
    Memory::Store(in.recall_ack, epoch);
    cursor->recall_acked = epoch;
  }

  // First half of a claim. Nobody may run the entry before CheckClaim has said yes.
  template <class In>
  static void AnnounceClaim(In& in, int lane, std::uint32_t position) {
    Memory::Store(in.claimed[lane], position + 1u);
    Memory::Barrier();  // either the submitter sees the claim, or we see the recall
  }
  // Second half, lane 0. False: the entry is the submitter's again.
  template <class Out, class In>
  static bool CheckClaim(const Out& out, In& in, Cursor* cursor) {
    if (!RecallIsOpen(out, *cursor)) return true;
    const std::uint32_t claimed = cursor->next;
    AcknowledgeRecall(out, in, cursor);
    return cursor->next == claimed;
  }
  // Claims cursor->next on lane 0 and moves on. False: it backed off, do not run it.
  template <class Out, class In>
  static bool Claim(const Out& out, In& in, Cursor* cursor) {
    AnnounceClaim(in, 0, cursor->next);
    if (!CheckClaim(out, in, cursor)) return false;
    ++cursor->next;
    return true;
  }

  // `payload`: (size + 7) / 8 words.
  template <class Completion>
  static void Publish(Completion& done, std::uint32_t position, std::uint32_t flags, std::uint32_t size,
                      std::uint32_t record, const std::uint64_t* payload) {
    const std::uint32_t tag = position + 1u;
    Memory::Store(done.tag, tag ^ 0x80000000u);  // foreign readers: being rewritten
    Memory::Store(done.flags, flags);
    Memory::Store(done.size, size);
    Memory::Store(done.result_record, record);
    const std::uint32_t words = (size + 7) / 8;
    for (std::uint32_t i = 0; i < words; ++i) Memory::Store(done.payload[i], payload[i]);
    Memory::Store(done.tag, tag);
  }

  // Whether the submitter sleeps until this tag (or an earlier one) and was not yet rung for that
  // wish.
  template <class Word>
  static bool WaiterMissed(const Word& want, std::uint32_t tag, std::uint64_t* rung) {
    Memory::Barrier();  // the completion before the look: the sleeper writes its wish before it looks
    const std::uint64_t wish = Memory::Load(want);
    if (wish == 0 || wish == *rung || After(static_cast<std::uint32_t>(wish), tag)) return false;
    *rung = wish;
    return true;
  }

  // ---- completions

  template <class Completion>
  static bool IsPublished(const Completion& done, std::uint32_t position) {
    return Memory::Load(done.tag) == position + 1u;
  }
  struct Result {
    std::uint32_t flags = 0, size = 0, record = 0;
  };
  // For the submitter, which alone lets the slot be used again. At most `capacity` words are
  // copied.
  template <class Completion>
  static Result Copy(const Completion& done, std::uint64_t* payload, std::uint32_t capacity) {
    Result result;
    result.flags = Memory::Load(done.flags);
    result.size = Memory::Load(done.size);
    if (result.size > capacity * 8) result.size = capacity * 8;
    result.record = Memory::Load(done.result_record);
    const std::uint32_t words = (result.size + 7) / 8;
    for (std::uint32_t i = 0; i < words; ++i) payload[i] = Memory::Load(done.payload[i]);
    return result;
  }

  enum class Foreign { kAbsent, kTorn, kRead };
  // For everybody else. kTorn: the slot is being used again, so the home word has moved on; look
  // there. `home` and `bound`: the word that led here, and what it was; `creator`: the client whose
  // object it is.
  template <class In, class Completion, class Home>
  static Foreign ReadForeign(const In& in, const Completion& done, std::uint32_t position, const Home& home,
                             std::uint64_t bound, std::uint32_t creator, Result* result, std::uint64_t* payload,
                             std::uint32_t capacity) {
    if (Memory::Load(in.submitter) != creator || !IsPublished(done, position)) return Foreign::kAbsent;
    *result = Copy(done, payload, capacity);
    return StillThere(in, done, position, home, bound, creator) ? Foreign::kRead : Foreign::kTorn;
  }
  template <class In, class Completion, class Home>
  static bool StillThere(const In& in, const Completion& done, std::uint32_t position, const Home& home,
                         std::uint64_t bound, std::uint32_t creator) {
    return IsPublished(done, position) && Memory::Load(in.submitter) == creator && Memory::Load(home) == bound;
  }

  // ---- rings of ended promises: release_ring and kept_ring

  // False: full, keep it and try again. `written` is the writer's own count, `count` the word that
  // shows it.
  template <class Word, class Count>
  static bool Append(Word* ring, std::uint32_t depth, Count& count, const Count& read, std::uint32_t* written,
                     std::uint32_t value) {
    if (*written - Memory::Load(read) >= depth) return false;
    Memory::Store(ring[*written & (depth - 1)], value);
    Memory::Store(count, ++*written);
    return true;
  }
  // False: nothing new (or a count that makes no sense).
  template <class Word, class Count>
  static bool Take(const Word* ring, std::uint32_t depth, const Count& count, Count& read, std::uint32_t* taken,
                   std::uint32_t* value) {
    const std::uint32_t there = Memory::Load(count) - *taken;
    if (there == 0 || there > depth) return false;
    *value = Memory::Load(ring[*taken & (depth - 1)]);
    Memory::Store(read, ++*taken);
    return true;
  }
};

using Ring = PairRing<MachineMemory>;

}  // namespace sheaf
