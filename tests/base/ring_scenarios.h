// The scenarios of the ring pair's model check: small submitters, workers and readers around
// base/pair_ring.h.
//
// Each runs the functions that the runtime and the worker run. What is theirs alone (which task
// goes where) is as small as it can be. The mistakes are planted here, never in the ring's code.
#pragma once

#include <cstdint>

#include "base/pair_ring.h"
#include "tests/base/ring_model.h"

namespace sheaf::model {

inline constexpr std::uint32_t kDepth = 2;
inline constexpr std::uint8_t kNone = 0xff;

struct ModelCompletion {
  Word32 tag, flags, result_record, size;
  Word64 payload[1];
};
struct ModelOut {
  Word32 recall_epoch, recall_from, recall_end, released, kept_read;
  Word64 want[2];
  Word64 entries[kDepth];
  Word32 release_ring[kDepth];
};
struct ModelIn {
  Word32 claimed[2];
  Word32 recall_ack, recall_first_not_run, submitter, ended, release_read;
  ModelCompletion done[kDepth];
};
// All words of a scenario, numbered from 0. Trivial, so that it costs nothing to make one for each
// operation.
struct Layout {
  ModelOut out;
  ModelIn in;
  Word32 asleep, submitter_bell, worker_bell;
  Word64 home[3], home_payload[3];
  std::size_t count = 0;

  Layout() {
    const auto number = [&](auto&... words) { ((words.id = static_cast<std::uint8_t>(count++)), ...); };
    number(out.recall_epoch, out.recall_from, out.recall_end, out.released, out.kept_read, out.want[0], out.want[1]);
    for (auto& word : out.entries) number(word);
    for (auto& word : out.release_ring) number(word);
    number(in.claimed[0], in.claimed[1], in.recall_ack, in.recall_first_not_run, in.submitter, in.ended,
           in.release_read);
    for (auto& done : in.done) number(done.tag, done.flags, done.result_record, done.size, done.payload[0]);
    number(asleep, submitter_bell, worker_bell);
    for (int i = 0; i < 3; ++i) number(home[i], home_payload[i]);
  }
  std::string Name(std::uint8_t id) const {
    const auto at = [&](const Word& word, const char* name) {
      return word.id == id ? std::string(name) : std::string();
    };
    std::string name = at(out.recall_epoch, "recall_epoch") + at(out.recall_from, "recall_from") +
                       at(out.recall_end, "recall_end") + at(out.want[0], "want") + at(in.claimed[0], "claimed") +
                       at(in.recall_ack, "recall_ack") + at(in.recall_first_not_run, "first_not_run") +
                       at(in.ended, "ended") + at(asleep, "asleep") + at(submitter_bell, "submitter's bell") +
                       at(worker_bell, "worker's bell");
    for (const auto& word : out.entries) name += at(word, "entry");
    for (const auto& done : in.done)
      name += at(done.tag, "done.tag") + at(done.flags, "done.flags") + at(done.payload[0], "done.payload");
    for (int i = 0; i < 3; ++i) name += at(home[i], "home") + at(home_payload[i], "home.payload");
    return name.empty() ? "word " + std::to_string(id) : name;
  }
  // As if the positions before `start` had been used.
  void Prime(std::uint64_t* words, std::uint32_t start) const {
    for (std::uint32_t i = 1; i <= kDepth; ++i) {
      const std::uint32_t position = start - i, place = position & (kDepth - 1);
      words[out.entries[place].id] = (std::uint64_t{position + 1u} << 32) | kNone;
      words[in.done[place].tag.id] = position + 1u;
    }
    words[in.claimed[0].id] = start;
  }
};
inline constexpr std::size_t kLayoutWords = 37;

constexpr std::uint64_t PayloadOf(std::uint32_t task) { return 0x1111111111111111u * (task + 1); }
inline bool Whole(std::uint32_t task, std::uint32_t flags, std::uint32_t record, std::uint64_t payload) {
  return flags == task + 1 && record == task + 1 && payload == PayloadOf(task);
}

enum class Mistake { kNone, kNoBackOff, kNoRecheck, kEndedReadLate, kOldRecallBelieved, kNoInvalidation };

// Push, recall, claim, publish, consume, and the judgement on what a dead worker leaves.
template <class Memory, Mistake kMistake = Mistake::kNone>
struct RecallScenario {
  using Ring = PairRing<Memory>;
  static constexpr std::size_t kWords = kLayoutWords;
  static constexpr int kProcesses = 2;
  static constexpr int kTasks = 3;
  enum Phase : std::uint8_t { kBacklog, kPushed, kDone, kBegun, kReturned };

  struct Ghost {
    std::uint8_t runs[kTasks];
    std::uint8_t owned[kTasks];  // the submitter's again
    std::uint8_t recall_open, reserved;
  };
  struct Local {
    // submitter
    std::uint32_t head, tail;
    typename Ring::Recall recall;
    std::uint8_t slots[kDepth];
    std::uint8_t phase[kTasks];
    std::uint8_t recalls, decided;
    // worker
    typename Ring::Cursor cursor;
    std::uint8_t reserved[4];
  };

  std::uint32_t start = 0;  // first position
  int recalls_max = 1;
  bool worker_dies = false, submitter_dies = false;
  Layout layout{};

  static const char* ProcessName(int process) { return process == 0 ? "submitter" : "worker"; }
  static const char* OpName(int process, int op) {
    static const char* const kNames[2][5] = {{"push", "recall", "settle", "consume", "judge"},
                                             {"look", "", "", "", ""}};
    return kNames[process][op];
  }

  void Start(std::uint64_t* words, Ghost*, Local* local) const {
    layout.Prime(words, start);
    local[0].head = local[0].tail = local[1].cursor.next = start;
    for (auto& slot : local[0].slots) slot = kNone;
  }
  template <class View>
  unsigned Ops(const View& view, int process) const {
    const Local& s = view.local[0];
    if (process == 1) return 1;
    if (s.decided) return 0;
    unsigned ops = 0;
    bool backlog = false;
    for (const auto phase : s.phase) backlog |= phase == kBacklog;
    if (backlog && !s.recall.open && s.tail - s.head < kDepth) ops |= 1;
    if (!s.recall.open && s.recalls < recalls_max && s.head != s.tail) ops |= 2;
    if (s.recall.open) ops |= 4;
    if (s.head != s.tail) ops |= 8;
    if (view.processes[1].dead) ops |= 16;
    return ops;
  }
  template <class View>
  bool Good(const View& view) const {
    const Local& s = view.local[0];
    if (view.processes[0].dead) return view.processes[1].op == 0 && view.processes[1].buffer_size == 0;
    if (view.processes[1].dead) return s.decided;
    for (const auto phase : s.phase)
      if (phase != kDone) return false;
    return true;
  }
  bool MayDie(int process) const { return process == 0 ? submitter_dies : worker_dies; }

  void Run(int process, int op, Local* local, Ghost* ghost) {
    if (process == 1) return Look(*local, *ghost);
    if (op == 0) PushOne(*local, *ghost);
    if (op == 1) Recall(*local, *ghost);
    if (op == 2) Settle(*local, *ghost);
    if (op == 3) Consume(*local, *ghost);
    if (op == 4) Judge(*local, *ghost);
  }

 private:
  void PushOne(Local& s, Ghost& ghost) {
    std::uint8_t task = 0;
    while (s.phase[task] != kBacklog) ++task;
    if (machine->Once()) ghost.owned[task] = 0;
    s.phase[task] = kPushed;
    s.slots[s.tail & (kDepth - 1)] = task;
    Ring::Push(layout.out.entries, kDepth, s.tail++, task);
    machine->Yield();
  }
  void TakeBack(Local& s, Ghost& ghost, std::uint32_t from, std::uint32_t end) {
    for (std::uint32_t position = from; position != end; ++position) {
      std::uint8_t& task = s.slots[position & (kDepth - 1)];
      if (task == kNone) continue;
      if (machine->Once()) {
        if (ghost.runs[task] > 0) machine->Fail("a task that has run was taken back");
        ghost.owned[task] = 1;
      }
      s.phase[task] = kBacklog;
      task = kNone;
    }
  }
  void Recall(Local& s, Ghost& ghost) {
    ++s.recalls;
    if (machine->Once()) ghost.recall_open = 1;
    if (Ring::OpenRecall(layout.out, layout.in, s.tail, &s.recall)) {
      TakeBack(s, ghost, s.recall.taken, s.recall.end);
    } else if (machine->Once()) {
      ghost.recall_open = 0;
    }
  }
  void Settle(Local& s, Ghost& ghost) {
    std::uint32_t before = 0;
    if (!Ring::SettleRecall(layout.out, layout.in, &s.recall, &before)) return;
    TakeBack(s, ghost, s.recall.taken, before);
    if (machine->Once()) ghost.recall_open = 0;
  }
  void Consume(Local& s, Ghost& ghost) {
    while (s.head != s.tail) {
      std::uint8_t& task = s.slots[s.head & (kDepth - 1)];
      if (task != kNone) {
        const ModelCompletion& done = layout.in.done[s.head & (kDepth - 1)];
        if (!Ring::IsPublished(done, s.head)) return;
        std::uint64_t payload = 0;
        const auto result = Ring::Copy(done, &payload, 1);
        if (machine->Once()) {
          if (!Whole(task, result.flags, result.record, payload)) machine->Fail("a torn or wrong result was consumed");
          if (ghost.runs[task] != 1) machine->Fail("a result of a task that did not run once");
        }
        s.phase[task] = kDone;
        task = kNone;
      }
      ++s.head;
    }
  }
  void Judge(Local& s, Ghost& ghost) {
    Consume(s, ghost);
    typename Ring::Recall recall = s.recall;
    if (kMistake == Mistake::kOldRecallBelieved) recall.open = s.recalls > 0;
    const std::uint32_t first = Ring::FirstNotBegun(layout.out, layout.in, 0, recall);
    for (; s.head != s.tail; ++s.head) {
      std::uint8_t& task = s.slots[s.head & (kDepth - 1)];
      if (task == kNone) continue;
      const bool begun = Ring::After(first, s.head);
      if (machine->Once() && !begun && ghost.runs[task] > 0) machine->Fail("a task that ran counts as not begun");
      s.phase[task] = begun ? kBegun : kReturned;
      task = kNone;
    }
    s.decided = 1;
  }

  void Look(Local& w, Ghost& ghost) {
    if (Ring::RecallIsOpen(layout.out, w.cursor)) Ring::AcknowledgeRecall(layout.out, layout.in, &w.cursor);
    const std::uint32_t position = w.cursor.next;
    std::uint32_t task = 0;
    if (!Ring::Peek(layout.out.entries, kDepth, position, &task)) return;
    if (task >= kTasks) machine->Fail("an entry that was never pushed");
    machine->Yield();  // here it reads the record
    if (machine->Once() && ghost.owned[task] && !ghost.recall_open) machine->Fail("a record was read after its recall");
    if (kMistake == Mistake::kNoBackOff) {
      Ring::AnnounceClaim(layout.in, 0, position);
      ++w.cursor.next;
    } else if (!Ring::Claim(layout.out, layout.in, &w.cursor)) {
      return;
    }
    if (machine->Once()) {
      if (ghost.owned[task]) machine->Fail("a task runs that was taken back");
      if (++ghost.runs[task] > 1) machine->Fail("a task runs twice");
    }
    machine->Yield();  // here it runs
    const std::uint64_t payload = PayloadOf(task);
    Ring::Publish(layout.in.done[position & (kDepth - 1)], position, task + 1, 8, task + 1, &payload);
  }
};

// Both sides sleep as soon as they may; nobody looks without being woken.
template <class Memory>
struct SleepScenario {
  using Ring = PairRing<Memory>;
  static constexpr std::size_t kWords = kLayoutWords;
  static constexpr int kProcesses = 2;
  static constexpr std::uint32_t kTasks = 2;

  struct Ghost {
    std::uint64_t unused;
  };
  struct Local {
    std::uint64_t rung_want;
    std::uint32_t position, consumed, rung_asleep, sleep_value, bell_seen;
    typename Ring::Cursor cursor;
    std::uint32_t asleep;  // in the kernel
    std::uint32_t reserved;
  };
  std::uint32_t start = 0;
  Layout layout{};

  static const char* ProcessName(int process) { return process == 0 ? "submitter" : "worker"; }
  static const char* OpName(int process, int op) {
    static const char* const kNames[2][3] = {{"push", "wait", "wakes"}, {"look", "sleep", "wakes"}};
    return kNames[process][op];
  }
  void Start(std::uint64_t* words, Ghost*, Local* local) const {
    layout.Prime(words, start);
    local[0].position = local[0].consumed = local[1].cursor.next = start;
  }
  template <class View>
  unsigned Ops(const View& view, int process) const {
    const Local& local = view.local[process];
    const Word32& bell = process == 0 ? layout.worker_bell : layout.submitter_bell;
    if (local.asleep) return view.words[bell.id] != local.bell_seen ? 4 : 0;  // the kernel compares before it sleeps
    if (process == 0) return (local.position - start < kTasks ? 1 : 0) | (local.consumed != local.position ? 2 : 0);
    return 1 | (local.sleep_value < 6 ? 2 : 0);
  }
  template <class View>
  bool Good(const View& view) const {
    return view.local[0].consumed - start == kTasks;
  }
  bool MayDie(int) const { return false; }

  void Run(int process, int op, Local* at, Ghost*) {
    Local& local = *at;
    if (op == 2) {
      local.asleep = 0;
      if (process == 0) {
        Memory::Store(layout.out.want[0], std::uint64_t{0});
      } else {
        Memory::Store(layout.asleep, std::uint32_t{0});
      }
      machine->Yield();
    } else if (process == 0 && op == 0) {
      Ring::Push(layout.out.entries, kDepth, local.position++, 0);
      if (Ring::SleeperMissed(layout.asleep, &local.rung_asleep)) machine->Add(layout.submitter_bell.id, 1);
    } else if (process == 0) {
      local.bell_seen = Memory::Load(layout.worker_bell);
      const std::uint32_t last = local.position - 1;
      Memory::Store(layout.out.want[0], (std::uint64_t{1} << 32) | (last + 1u));
      Memory::Barrier();
      if (Ring::IsPublished(layout.in.done[last & (kDepth - 1)], last)) {
        local.consumed = local.position;
      } else {
        local.asleep = 1;
      }
    } else if (op == 0) {
      std::uint32_t task = 0;
      const std::uint32_t position = local.cursor.next;
      if (!Ring::Peek(layout.out.entries, kDepth, position, &task)) return;
      if (!Ring::Claim(layout.out, layout.in, &local.cursor)) return;
      Ring::Publish(layout.in.done[position & (kDepth - 1)], position, 0, 0, 0, nullptr);
      if (Ring::WaiterMissed(layout.out.want[0], position + 1u, &local.rung_want))
        machine->Add(layout.worker_bell.id, 1);
    } else {
      local.bell_seen = Memory::Load(layout.submitter_bell);
      local.sleep_value += 2;
      Memory::Store(layout.asleep, local.sleep_value);
      Memory::Barrier();
      std::uint32_t task = 0;
      if (Ring::Peek(layout.out.entries, kDepth, local.cursor.next, &task)) {
        Memory::Store(layout.asleep, std::uint32_t{0});
      } else {
        local.asleep = 1;
      }
    }
  }
};

}  // namespace sheaf::model
