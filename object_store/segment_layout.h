// The bytes that processes share. Every struct here lies in a segment that exactly one process may write; everybody
// else maps it read-only (the kernel refuses the rest: the memfd is sealed against new writable mappings).
//
//   control segment  one per client, index 0: bells, sleep words, and the client's half of every ring pair
//   slab             home slots with their task records; the submitter is the writer
//   arena, large     blocks of bytes; the creator is the writer
//
// Rules: positions are 32 bits and wrap; a tag is position + 1; whatever is read from another process is checked
// before use. docs/dispatch.md tells the protocol, with what happens when either side dies at any step.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/limits.h"

namespace sheaf::store {

inline constexpr std::uint32_t kControlMagic = 0x53484631;  // "SHF1"

struct WireLoc {
  std::uint32_t client, segment;
  std::uint64_t offset;
};

// ---- home slots -------------------------------------------------------------------------------------------------

enum class HomeKind : std::uint32_t {
  kFree = 0,
  kPending = 1,  // no value yet, no worker yet
  kBound = 2,    // pushed to a worker: look into its completion slot, then here again
  kValue = 3,    // payload below is final
};
inline constexpr std::uint32_t kFlagError = 1;         // the payload is a stored error
inline constexpr std::uint32_t kFlagBlockPayload = 2;  // the payload is a BlockRecord that names the real payload
inline constexpr std::uint32_t kFlagKept = 4;          // completions only: the worker still uses the task's arguments
inline constexpr std::uint32_t kFlagMarked = 16;       // behind the payload stands where it names memory and objects
inline constexpr std::uint32_t kFlagGivenBack = 8;     // completions only: it has not run, it is the submitter's again
inline constexpr std::uint32_t kFlagSpeaks = 32;  // completions only: of objects of the worker that are not there yet
inline constexpr std::uint32_t kFlagAway = 64;    // completions only: some of its blocks lie on another machine still
// Completions only: what the run took, in 16 ns, in the flags from this bit on. 0: not measured; the largest: so much or more.
inline constexpr std::uint32_t kTookShift = 8, kTookNanos = 16, kTookMax = 0xffffff;

// The home word: kind, flags, and for kBound where to look. Written by the creator only.
struct HomeWord {
  HomeKind kind = HomeKind::kFree;
  std::uint32_t flags = 0;
  std::uint32_t lane = 0;    // 0 or 1
  std::uint32_t worker = 0;  // client index
  std::uint32_t region = 0;  // the worker's in-region
  std::uint32_t position = 0;
  constexpr std::uint64_t Pack() const {
    return static_cast<std::uint64_t>(kind) | (static_cast<std::uint64_t>(flags) << 2) |
           (static_cast<std::uint64_t>(lane) << 8) | (static_cast<std::uint64_t>(worker) << 9) |
           (static_cast<std::uint64_t>(region) << 21) | (static_cast<std::uint64_t>(position) << 32);
  }
  static constexpr HomeWord Unpack(std::uint64_t word) {
    HomeWord home;
    home.kind = static_cast<HomeKind>(word & 3);
    home.flags = (word >> 2) & 63;
    home.lane = (word >> 8) & 1;
    home.worker = (word >> 9) & (limits::kClientsMax - 1);
    home.region = (word >> 21) & 2047;
    home.position = static_cast<std::uint32_t>(word >> 32);
    return home;
  }
};

struct alignas(64) HomeSlot {
  std::atomic<std::uint64_t> word;
  std::atomic<std::uint32_t> generation;
  std::uint32_t size;
  std::byte payload[limits::kPayloadInline];
};
static_assert(sizeof(HomeSlot) == 64);

// What a task is. Dependencies (DependencyRecord each) come first in `inline_bytes`, then the arguments' payload;
// if they do not fit, inline_bytes holds one BlockRecord for all of it.
inline constexpr std::uint16_t kTaskArgumentsInBlock = 1;
// Behind the arguments' payload stands where it names memory and objects (Encoder::AppendMarks): in a block up to its end,
// else so many bytes as the flags say from this bit on.
inline constexpr std::uint16_t kTaskMarked = 2;
inline constexpr std::uint32_t kTaskMarksShift = 8;
struct TaskRecord {
  std::uint32_t function;
  std::uint16_t dependencies;
  std::uint16_t flags;
  std::uint64_t digest;  // of the function's name and signature: a worker of another program refuses
  std::uint32_t size;    // bytes of the arguments' payload, without the dependencies
  std::uint16_t attempt;
  std::uint16_t retries;  // what is left after this attempt
  alignas(8) std::byte inline_bytes[limits::kArgumentsInline];
};
static_assert(sizeof(TaskRecord) == 128);

struct Slot {
  HomeSlot home;
  TaskRecord task;
};
static_assert(sizeof(Slot) == 192);

struct BlockRecord {
  WireLoc loc;
  std::uint64_t size;
};
struct DependencyRecord {
  std::uint32_t client, slot, generation;
  std::uint16_t element;  // kWholeElement: the whole object, else one element of a tuple
  std::uint16_t unwrap;   // how often the value is itself a ref to follow
  // Written at each push: the object's home word if it was kBound then, else 0. The worker that has run it finds the value in
  // its own completions, and the home slot's line stays with the submitter.
  std::uint64_t bound;
};
inline constexpr std::uint16_t kWholeElement = 0xffff;
static_assert(sizeof(BlockRecord) == 24 && sizeof(DependencyRecord) == 24);

// Slot indices name a slab and a place in it.
constexpr std::uint32_t SlabOf(std::uint32_t slot) { return slot >> 16; }
constexpr std::uint32_t PlaceOf(std::uint32_t slot) { return slot & 0xffff; }

// ---- ring pairs -------------------------------------------------------------------------------------------------

inline constexpr std::uint64_t kWant = std::uint64_t{1} << 32,
                               kWantRead = std::uint64_t{1} << 33;  // in OutRegion::want

// The submitter's half of a pair: what to run, what it takes back, what it no longer needs.
struct OutRegion {
  // Regions are reused. Each side first resets its own half, then stores the pair's nonce; nobody reads the
  // peer's half before both nonces are equal.
  alignas(64) std::atomic<std::uint32_t> nonce;
  std::atomic<std::uint32_t> worker;  // client id of the peer
  // Per lane: 0, or kWant | tag: ring my bell when you reach it; with kWantRead a Get waits for just this result.
  alignas(64) std::atomic<std::uint64_t> want[2];
  alignas(64) std::atomic<std::uint32_t> recall_epoch;  // a recall is open while it differs from the worker's ack
  std::atomic<std::uint32_t> recall_from, recall_end;   // lane 0 positions, half open
  alignas(64) std::atomic<std::uint32_t> released;      // result records written to release_ring so far
  std::atomic<std::uint32_t> kept_read;                 // entries of the worker's kept_ring read so far
  alignas(64) std::atomic<std::uint64_t> entries[limits::kLaneDepth];  // tag << 32 | slot
  std::atomic<std::uint64_t> urgent[limits::kUrgentDepth];
  std::atomic<std::uint32_t> release_ring[limits::kReleaseDepth];
};

struct alignas(64) Completion {
  std::atomic<std::uint32_t> tag;  // position + 1 once published; flipped in its top bit while being rewritten
  std::atomic<std::uint32_t> flags;
  std::atomic<std::uint32_t> result_record;  // names what the worker keeps for this result; 0 = nothing
  std::atomic<std::uint32_t> size;
  std::atomic<std::uint64_t> payload[limits::kPayloadInline / 8];
};
static_assert(sizeof(Completion) == 64);

// The worker's half of a pair: how far it has come, and the results.
struct InRegion {
  alignas(64) std::atomic<std::uint32_t> nonce;
  std::atomic<std::uint32_t> submitter;  // client id of the peer: a foreign reader of a completion compares it
  std::atomic<std::uint32_t> ended;      // = nonce once the worker will run nothing more of a dead submitter
  alignas(64) std::atomic<std::uint32_t> claimed[2];    // per lane: tag of the last entry begun
  alignas(64) std::atomic<std::uint32_t> recall_ack;    // = recall_epoch once seen
  std::atomic<std::uint32_t> recall_first_not_run;      // position; valid once acknowledged
  alignas(64) std::atomic<std::uint32_t> release_read;  // entries of the submitter's release_ring read so far
  std::atomic<std::uint32_t> kept_released;             // slots written to kept_ring so far
  alignas(64) Completion done[limits::kLaneDepth];
  Completion urgent_done[limits::kUrgentDepth];
  std::atomic<std::uint32_t> kept_ring[limits::kKeptDepth];  // slots of tasks whose arguments are no longer used
};

// Lane 0 is the ordinary one, lane 1 the urgent one (docs/dispatch.md, "Order in a lane").
constexpr std::uint32_t LaneDepth(int lane) { return lane == 0 ? limits::kLaneDepth : limits::kUrgentDepth; }
inline const std::atomic<std::uint64_t>* Entries(const OutRegion& out, int lane) {
  return lane == 0 ? out.entries : out.urgent;
}
inline std::atomic<std::uint64_t>* Entries(OutRegion& out, int lane) { return lane == 0 ? out.entries : out.urgent; }
// Never `(lane == 0 ? in.done : in.urgent_done)[i]`: g++ 12 with -fsanitize=bounds evaluates i on one of the branches only.
inline const Completion* Completions(const InRegion& in, int lane) { return lane == 0 ? in.done : in.urgent_done; }
inline Completion* Completions(InRegion& in, int lane) { return lane == 0 ? in.done : in.urgent_done; }
inline const Completion& CompletionAt(const InRegion& in, int lane, std::uint32_t position) {
  return Completions(in, lane)[position % LaneDepth(lane)];
}
inline Completion& CompletionAt(InRegion& in, int lane, std::uint32_t position) {
  return Completions(in, lane)[position % LaneDepth(lane)];
}

// ---- control segment --------------------------------------------------------------------------------------------

inline constexpr std::uint32_t kBells = 16;

struct ControlHeader {
  std::uint32_t magic, version;
  std::uint32_t client, pid;
  std::uint32_t out_regions, in_regions;
  std::uint64_t out_offset, in_offset;
  // Futex words; each counts up when a sleeper that it is meant for must look (BellOf).
  alignas(64) std::atomic<std::uint32_t> bells[kBells];
  alignas(64) std::atomic<std::uint32_t> asleep;   // 0, or an odd count: the executor waits for entries
  std::atomic<std::uint32_t> awaiting;             // 0, or an odd count: a thread waits for an object of another client
  std::atomic<std::uint64_t> awaited;              // the kBound home word of the only object awaited; 0: any may be it
  std::atomic<std::uint32_t> cpu;                  // where the executor woke up last, plus one; 0: not known
  alignas(64) std::atomic<std::uint32_t> blocked;  // 1 while the executor waits inside Get
  std::atomic<std::uint32_t> starved;              // 1 while no head is ready
  std::atomic<std::uint64_t> executed;             // tasks run so far
  alignas(64) std::atomic<std::uint32_t> slab_count;
  std::atomic<std::uint32_t> slab_segment[limits::kSlabsMax];
  alignas(64) std::atomic<std::uint32_t> executing;  // 1 while the executor runs tasks; a line that others rarely read
};

// The bell of `control` that is rung for the client with this index: few others sleep on it.
inline const std::atomic<std::uint32_t>& BellOf(const ControlHeader& control, std::uint32_t index) {
  return control.bells[index % kBells];
}

constexpr std::uint64_t AlignUp(std::uint64_t value, std::uint64_t alignment) {
  return (value + alignment - 1) / alignment * alignment;
}
constexpr std::uint64_t OutOffset() { return AlignUp(sizeof(ControlHeader), 4096); }
constexpr std::uint64_t InOffset(std::uint32_t outs) { return AlignUp(OutOffset() + outs * sizeof(OutRegion), 4096); }
constexpr std::uint64_t ControlBytes(std::uint32_t outs, std::uint32_t ins) {
  return AlignUp(InOffset(outs) + ins * sizeof(InRegion), 4096);
}
constexpr std::uint64_t SlabBytes(std::uint32_t slab) {
  return AlignUp(std::uint64_t{limits::SlabSlots(slab)} * sizeof(Slot), 4096);
}

}  // namespace sheaf::store
