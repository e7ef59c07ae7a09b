// More scenarios of the ring pair: foreign readers of completions, orphans, and the rings of ended
// promises.
#pragma once

#include "tests/base/ring_scenarios.h"

namespace sheaf::model {

inline constexpr std::uint32_t kCreator = 7, kNonce = 5;
inline constexpr std::uint64_t kHomePending = 1, kHomeValue = 3;
constexpr std::uint64_t HomeBound(std::uint32_t position) { return (std::uint64_t{position} << 32) | 2; }

// A third process reads an object whose completion slot is used again as soon as its owner has
// consumed it.
template <class Memory, Mistake kMistake = Mistake::kNone>
struct ReaderScenario {
  using Ring = PairRing<Memory>;
  static constexpr std::size_t kWords = kLayoutWords;
  static constexpr int kProcesses = 3;
  static constexpr std::uint32_t kTasks = 3, kOneSlot = 1;

  struct Ghost {
    std::uint64_t published;
  };
  struct Local {
    std::uint32_t head, tail;
    typename Ring::Cursor cursor;
    std::uint8_t read, lost, ended, reserved[5];
  };
  bool submitter_dies = false;
  std::uint32_t start = 0;
  Layout layout{};

  static const char* ProcessName(int process) {
    static const char* const kNames[] = {"submitter", "worker", "reader"};
    return kNames[process];
  }
  static const char* OpName(int process, int op) {
    static const char* const kNames[3][2] = {{"push", "consume"}, {"look", "end"}, {"probe", ""}};
    return kNames[process][op];
  }
  void Start(std::uint64_t* words, Ghost*, Local* local) const {
    layout.Prime(words, start);
    words[layout.in.submitter.id] = kCreator;
    for (const auto& home : layout.home) words[home.id] = kHomePending;
    local[0].head = local[0].tail = local[1].cursor.next = start;
  }
  template <class View>
  unsigned Ops(const View& view, int process) const {
    const Local& local = view.local[process];
    if (process == 0)
      return (local.tail - start < kTasks && local.tail == local.head ? 1 : 0) | (local.head != local.tail ? 2 : 0);
    if (process == 1) return local.ended ? 0 : 1 | (view.processes[0].dead ? 2 : 0);
    return local.read || local.lost ? 0 : 1;
  }
  template <class View>
  bool Good(const View& view) const {
    const Local& reader = view.local[2];
    if (!view.processes[0].dead) return reader.read && view.local[0].head - start == kTasks;
    return view.local[1].ended && (reader.read || reader.lost);
  }
  bool MayDie(int process) const { return process == 0 && submitter_dies; }

  void Run(int process, int op, Local* at, Ghost* ghost) {
    Local& local = *at;
    if (process == 0 && op == 0) {
      const std::uint32_t task = local.tail - start;
      Memory::Store(layout.home[task], HomeBound(local.tail));
      Ring::Push(layout.out.entries, kOneSlot, local.tail++, task);
      machine->Yield();
    } else if (process == 0) {
      const std::uint32_t task = local.head - start;
      const ModelCompletion& done = layout.in.done[0];
      if (!Ring::IsPublished(done, local.head)) return;
      std::uint64_t payload = 0;
      Ring::Copy(done, &payload, 1);
      Memory::Store(layout.home_payload[task], payload);
      Memory::Store(layout.home[task], kHomeValue);
      ++local.head;
    } else if (process == 1 && op == 0) {
      std::uint32_t task = 0;
      const std::uint32_t position = local.cursor.next;
      if (!Ring::Peek(layout.out.entries, kOneSlot, position, &task)) return;
      if (!Ring::Claim(layout.out, layout.in, &local.cursor)) return;
      Publish(position, task, *ghost);
    } else if (process == 1) {
      Memory::Store(layout.in.ended, kNonce);
      local.ended = 1;
      machine->Yield();
    } else {
      Probe(local, *ghost);
    }
  }

 private:
  void Publish(std::uint32_t position, std::uint32_t task, Ghost& ghost) {
    const std::uint64_t payload = PayloadOf(task);
    ModelCompletion& done = layout.in.done[0];
    if (kMistake == Mistake::kNoInvalidation) {
      Memory::Store(done.flags, task + 1);
      Memory::Store(done.size, 8u);
      Memory::Store(done.result_record, task + 1);
      Memory::Store(done.payload[0], payload);
      Memory::Store(done.tag, position + 1u);
    } else {
      Ring::Publish(done, position, task + 1, 8, task + 1, &payload);
    }
    if (task == 0 && machine->Once()) ghost.published = 1;
  }
  // As runtime/prober.cc does it, for the first task.
  void Probe(Local& local, Ghost& ghost) {
    const bool creator_dead = machine->Dead(0);
    const std::uint64_t word = Memory::Load(layout.home[0]);
    if (word == kHomeValue) {
      const std::uint64_t payload = Memory::Load(layout.home_payload[0]);
      if (payload != PayloadOf(0)) machine->Fail("a home value that is not whole");
      local.read = 1;
      return;
    }
    if (word == kHomePending) {
      local.lost = creator_dead;
      return;
    }
    const auto position = static_cast<std::uint32_t>(word >> 32);
    const ModelCompletion& done = layout.in.done[0];
    bool ended = false;
    if (kMistake != Mistake::kEndedReadLate) ended = Memory::Load(layout.in.ended) == kNonce;
    typename Ring::Result result;
    std::uint64_t payload = 0;
    auto outcome = Ring::Foreign::kAbsent;
    if (kMistake == Mistake::kNoRecheck || kMistake == Mistake::kNoInvalidation) {
      if (Ring::IsPublished(done, position)) {
        result = Ring::Copy(done, &payload, 1);
        outcome = kMistake == Mistake::kNoRecheck || Ring::IsPublished(done, position) ? Ring::Foreign::kRead
                                                                                       : Ring::Foreign::kTorn;
      }
    } else {
      outcome = Ring::ReadForeign(layout.in, done, position, layout.home[0], word, kCreator, &result, &payload, 1);
    }
    if (outcome == Ring::Foreign::kRead) {
      if (!Whole(0, result.flags, result.record, payload)) machine->Fail("a torn result was accepted");
      local.read = 1;
    } else if (outcome == Ring::Foreign::kAbsent && Memory::Load(layout.home[0]) == word) {
      if (kMistake == Mistake::kEndedReadLate) ended = Memory::Load(layout.in.ended) == kNonce;
      if (!creator_dead || !ended) return;
      if (machine->Once() && ghost.published) machine->Fail("a value that is there was called lost");
      local.lost = 1;
    }
  }
};

// kept_ring or release_ring: every value arrives once, in order, through a ring that is shorter
// than they are many.
template <class Memory>
struct PromiseScenario {
  using Ring = PairRing<Memory>;
  static constexpr std::size_t kWords = kLayoutWords;
  static constexpr int kProcesses = 2;
  static constexpr std::uint32_t kValues = 4;
  struct Ghost {
    std::uint64_t unused;
  };
  struct Local {
    std::uint32_t count, given;
  };
  std::uint32_t start = 0;
  Layout layout{};

  static const char* ProcessName(int process) { return process == 0 ? "giver" : "taker"; }
  static const char* OpName(int process, int) { return process == 0 ? "append" : "take"; }
  void Start(std::uint64_t* words, Ghost*, Local* local) const {
    words[layout.out.released.id] = words[layout.in.release_read.id] = start;
    local[0].count = local[1].count = start;
  }
  template <class View>
  unsigned Ops(const View& view, int process) const {
    return view.local[process].given < kValues ? 1 : 0;
  }
  template <class View>
  bool Good(const View& view) const {
    return view.local[1].given == kValues;
  }
  bool MayDie(int) const { return false; }
  void Run(int process, int, Local* local, Ghost*) {
    std::uint32_t value = 0;
    if (process == 0) {
      local->given += Ring::Append(layout.out.release_ring, kDepth, layout.out.released, layout.in.release_read,
                                   &local->count, 100 + local->given);
    } else if (Ring::Take(layout.out.release_ring, kDepth, layout.out.released, layout.in.release_read, &local->count,
                          &value)) {
      if (value != 100 + local->given) machine->Fail("a promise was lost, repeated or overtaken");
      ++local->given;
    }
  }
};

}  // namespace sheaf::model
