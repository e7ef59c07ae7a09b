// Results whose large blocks stay on the other machine until somebody reads them: the near half's side of docs/decisions/0012.
//
// A block that is away is a BlockRoot of this process with an away number and no memory. Freed is freed by whoever drops the last pin;
// Sweep tells the others. Thread-safe; its mutex is taken under the submitter's, and nothing is waited for under it.
//
//            kWanted, the oldest of too many             bytes are there
//   kAway -----------------------------------> kComing -------------------> kHere
//     ^  no room                                  |  ^
//     +-------------------------------------------+  +-- in the stream, if the offer cannot be fetched
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "runtime/context.h"
#include "worker/relay/fetcher.h"
#include "worker/relay/form.h"

namespace sheaf::relay {

class AwayValues {
 public:
  using Name = std::uint64_t;
  struct Events {
    std::function<void(Name)> fetch_again;                  // say kAgain: the offer is of no use
    std::function<void(Name, std::uint64_t bytes)> let_go;  // say kFetched: the other half may forget what it keeps
    std::function<void(const detail::ObjectId&)> arrived;   // all of that object's value lies here
  };
  // `bytes_max`: may be away at once; beyond it the oldest come.
  AwayValues(runtime::Context& context, Fetcher& fetcher, std::uint64_t bytes_max, Events events);

  bool HasNumbers() const;  // enough for another value
  // A block for a form that is being read. Nothing: no number is left.
  std::optional<NewBlock> NewNumber(std::uint64_t bytes);
  // The value that was read, with its offers. From now on the pool knows the numbers. `index`: of each block in the form.
  void Add(Name name, const detail::ObjectId& object, std::vector<OfferedBlock> blocks,
           const std::vector<std::uint32_t>& indices);
  void Fetch(std::uint32_t segment);  // the value that has it
  void FetchAll();
  // Its value comes in the stream. Nothing: not expected, or this block is not one of those that are away.
  bool ComesInStream(Name name) const;
  std::optional<NewBlock> Room(Name name, std::uint32_t index, std::uint64_t bytes);
  bool CameInStream(Name name,
                    bool ok);  // false: not all blocks did. `ok` false: there was no memory for the rest of it
  void Sweep();                // the loop, now and then
  bool empty() const;          // nothing is away or on its way
  bool no_room_for_long() const;

 private:
  enum class State { kAway, kComing, kHere };
  struct Part {
    std::uint32_t segment = 0, index = 0;
    std::uint64_t size = 0;
    runtime::BlockRoot* root = nullptr;  // nullptr: freed
    BlockOffer offer{};
    store::Mapping room;  // while it comes
    bool filled = false;  // in the stream
  };
  struct Value {
    detail::ObjectId object;
    std::vector<Part> parts;
    std::uint64_t bytes = 0;
    State state = State::kAway;
    bool in_stream = false;         // its offers are of no use any more
    bool expected = false;          // in the stream, now
    bool no_room = false;           // was found for it, just now
    std::vector<detail::Pin> pins;  // while it comes
  };
  void Freed(std::uint32_t segment);  // under the submitter's lock
  void FetchLocked(Name name, Value& value, FetchClass wanted);
  bool MakeRoom(Name name, std::vector<OfferedBlock>* blocks, std::string* why);
  void Fetched(Name name, bool ok, const std::string& why);
  void Came(Name name);
  void DidNotCome(Name name, const std::string& why);  // there was no memory

  runtime::Context& context_;
  Fetcher& fetcher_;
  const std::uint64_t bytes_max_;
  const Events events_;
  mutable std::mutex mutex_;
  std::map<Name, Value> values_;
  std::map<std::uint32_t, Name> by_segment_;
  std::vector<std::uint32_t> free_numbers_;
  std::uint32_t next_number_ = limits::kAwayFirst;
  std::vector<Name> freed_;                       // whole values
  std::atomic<bool> has_freed_{false};            // there are some; and
  std::atomic<std::uint32_t> expected_{0};        // so many in the stream: for looks without the mutex
  std::uint64_t bytes_ = 0, away_ = 0;            // of those that are away
  std::int64_t no_room_ = 0, no_room_since_ = 0;  // when there was none last, and since when
};

}  // namespace sheaf::relay
