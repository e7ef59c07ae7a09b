// What a Pin counts: the four kinds of things a process keeps alive. All of it is private memory.
//
//   ObjectRoot    an object whose home slot is ours: a task we submitted, or a Put
//   ForeignRoot   an object of another client; pins what it came through (a task's arguments, an outer object)
//   BlockRoot     a block of our own memory
//   IncomingRoot  the arguments of a task we run: everything decoded from them pins it
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "object_store/block_heap.h"
#include "sheaf/detail/abi.h"

namespace sheaf::runtime {

using detail::ObjectId;
using detail::Pin;
using detail::RefCore;
using detail::Root;

enum RootKind : std::uint16_t { kObjectRoot = 1, kForeignRoot = 2, kBlockRoot = 3, kIncomingRoot = 4 };

//          Submit                Push                       Consume
//   kFree ------> kBacklog --------------> kPushed ------------------------> kReady -> kFree (last pin gone)
//                  |    ^  Recall, death    |
//                  |    +-------------------+
//                  +----> kInline ------------------------------------------> kReady
enum class Phase : std::uint8_t { kFree = 0, kBacklog, kPushed, kInline, kReady };

struct Hook {
  std::function<void()> call;
  bool may_read = false;  // the user's: it may read what lies on another machine, and then waits
};

// A pin on what others hold; empty if no more than `nobody` do, as it is about to be freed.
inline Pin PinIfHeld(Root* root, std::uint32_t nobody = 0) {
  std::uint32_t refs = root->refs.load(std::memory_order_relaxed);
  while (refs > nobody && !root->refs.compare_exchange_weak(refs, refs + 1, std::memory_order_relaxed)) {
  }
  return refs > nobody ? Pin::Adopt(root) : Pin();
}

// Seldom needed parts of an object.
struct Extra {
  std::vector<Pin> holds;   // of the task's arguments until it ends (or the borrow does); of the value for a Put
  std::vector<Hook> hooks;  // called once when the object is ready
  std::string name;         // given by the user
  std::vector<std::byte> private_error;  // where the store had no room for it
  std::uint32_t kept_by = 0;             // the client that still uses the arguments; 0: nobody
  std::uint32_t made_by = 0;  // the client that owes something to the value, which is remembered for it; 0: none
  bool speaks = false;        // with made_by: the value does, of what is not there yet
  // With made_by: blocks of the value lie on another machine still (docs/decisions/0012), and so many such values deep.
  bool away = false, lost = false;  // lost: with the relay; they are being made again
  std::uint8_t away_depth = 0;
  std::vector<Pin> stands_in;    // another run's value, and copies: what blocks of this one have become
  std::uint32_t cpus_milli = 0;  // of a task that needs more than one CPU; 0: one
  std::uint32_t shape = 0;       // of a task that needs more than CPUs; 0: nothing
};

inline constexpr std::uint8_t kNoPair = 0xff;

struct ObjectRoot : Root {
  std::uint32_t slot = 0;
  union {
    std::uint32_t due;                // until kReady: when it should be done, in 64 ns, modulo 2^32
    std::uint32_t result_record = 0;  // from then on: what the producer keeps for us; 0: nothing
  };
  std::atomic<std::uint8_t> pair = kNoPair;  // where it was pushed last; also read without the lock
  Phase phase = Phase::kFree;
  std::uint16_t attempt = 1;
  std::int16_t retries = 0;
  std::uint16_t producer = 0;  // kReady: client index of whoever keeps result_record
  Extra* extra = nullptr;
};
static_assert(sizeof(ObjectRoot) <= 32, "a queued task is 192 + 32 bytes");

// A value of another client that was found in a completion slot, copied before the slot moves on.
using PayloadCopy = std::array<std::uint64_t, limits::kPayloadInline / 8>;

// Throws Error for what was made before a Shutdown.
void RequireThisLife(std::uint16_t of, std::uint16_t life);
inline void RequireThisLife(const Root& root, std::uint16_t life) { RequireThisLife(root.life, life); }
// Of the Init with that number. One branch for both: every Get asks.
inline bool IsOwnObject(const Root& root, std::uint16_t life) {
  return ((root.kind ^ kObjectRoot) | (root.life ^ life)) == 0;
}

struct ForeignRoot : Root {
  ObjectId id;
  Pin through;
  std::mutex copying;  // the first reader that finds the value fills `copy`
  bool copied = false;
  std::uint32_t flags = 0, size = 0;
  PayloadCopy copy;
};

struct BlockRoot : Root {
  store::OwnBlock block;
};

struct IncomingRoot : Root {
  std::uint32_t submitter = 0;  // client id; 0: a task of our own, run inline
  std::uint32_t region = 0;     // our in-region
  std::uint32_t slot = 0;       // the submitter's
  bool kept = false;            // the completion said so
  std::deque<PayloadCopy> copies;
  std::vector<Pin> holds;  // own tasks: what the arguments name
};

}  // namespace sheaf::runtime
