// A model checker for protocols between processes over shared words: all interleavings, all delays
// of stores, all deaths.
//
// Memory is as x86 has it: every process has a first-in-first-out store buffer; a load sees its own
// buffer first; a barrier waits until the buffer is empty. A death may happen between any two
// steps: what is still in the buffer then is lost, what was written before it is there, which
// together is every prefix of the process's stores.
//
// A process is a set of operations (ordinary code over ModelMemory) that its program starts one
// after another, in any order that Ops() allows. A state is the words, the buffers, what each
// process knows between operations, and the values it has read inside the one that it is in: a step
// runs that operation again from its start with the values it had read, and then does one thing
// more. States are told apart by a 128-bit hash.
//
// Found: a violated Check, a state from which no good end can be reached (lost work, or a sleeper
// that nobody wakes).
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <unordered_map>
#include <vector>

namespace sheaf::model {

struct Word {
  std::uint8_t id = 0;
};

// What the running operation talks to.
class Machine {
 public:
  virtual ~Machine() = default;
  virtual std::uint64_t Load(std::uint8_t word, bool own) = 0;
  virtual void Store(std::uint8_t word, std::uint64_t value) = 0;
  virtual void Barrier() = 0;
  virtual std::uint64_t Add(std::uint8_t word, std::uint64_t value) = 0;  // locked
  virtual bool Once() = 0;  // true the first time that the operation comes here: for what is counted on the side
  virtual void Yield() = 0;
  virtual bool Dead(int process) = 0;  // as the control page shows it
  virtual void Fail(const char* what) = 0;
};
inline Machine* machine = nullptr;

struct ModelMemory {
  // The widths of the real words: a position wraps at 32 bits.
  template <class W>
  using Value = typename W::Type;
  template <class W>
  static Value<W> Load(const W& word) {
    return static_cast<Value<W>>(machine->Load(word.id, false));
  }
  template <class W>
  static Value<W> LoadOwn(const W& word) {
    return static_cast<Value<W>>(machine->Load(word.id, true));
  }
  template <class W>
  static void Store(W& word, Value<W> value) {
    machine->Store(word.id, value);
  }
  static void Barrier() { machine->Barrier(); }
};
// The same machine for code that forgot its barriers.
struct NoBarriers : ModelMemory {
  static void Barrier() {}
};

struct Word32 : Word {
  using Type = std::uint32_t;
};
struct Word64 : Word {
  using Type = std::uint64_t;
};

struct Found {
  bool bad = false;
  std::string what;  // the first thing that went wrong, with the steps that led to it
  std::size_t states = 0;
};

// Scenario: kWords, kProcesses, struct Ghost, struct Local (trivially copyable), and
//   void Start(words, ghost, local[])             the initial state
//   unsigned Ops(view, process)                   bits of the operations that may start now
//   void Run(process, op, Local*, Ghost*)         the operation; the ghost is written under machine->Once() only
//   bool Good(view)                               an end that is as it should be
//   bool MayDie(process); bool SeesDeath          at most one process dies
template <class Scenario>
class Explorer : public Machine {
 public:
  using Ghost = typename Scenario::Ghost;
  using Local = typename Scenario::Local;
  static constexpr std::size_t kWords = Scenario::kWords;
  static constexpr int kProcesses = Scenario::kProcesses;
  static constexpr std::size_t kLog = 40, kBuffer = 24;
  static constexpr std::uint8_t kBarrierStep = 200, kYieldStep = 201, kDeadStep = 202, kQuietStep = 203;

  struct Process {
    std::uint64_t log[kLog];
    std::uint64_t buffer_value[kBuffer];
    std::uint8_t buffer_word[kBuffer];
    std::uint8_t log_size, buffer_size, op, dead;  // op: 0 idle, else its number + 1
    std::uint8_t reserved[4];
  };
  struct State {
    std::uint64_t words[kWords];
    Process processes[kProcesses];
    alignas(8) Ghost ghost;
    alignas(8) Local local[kProcesses];
  };
  static_assert(std::is_trivially_copyable_v<State> && sizeof(State) % 8 == 0);

  explicit Explorer(Scenario scenario, std::size_t states_max = 3'000'000)
      : scenario_(scenario), states_max_(states_max) {}

  Found Explore() {
    machine = this;
    State start;
    std::memset(static_cast<void*>(&start), 0, sizeof start);
    scenario_.Start(start.words, &start.ghost, start.local);
    Visit(start, 0, 0, 0);
    while (!pending_.empty() && !found_.bad) {
      const std::pair<std::uint32_t, State> next = pending_.back();
      pending_.pop_back();
      Expand(next.first, next.second);
      if (nodes_.size() > states_max_ && !found_.bad) {
        found_.bad = true;
        found_.what = "too many states for this check";
      }
    }
    if (!found_.bad) LookForTheLost();
    found_.states = nodes_.size();
    machine = nullptr;
    return found_;
  }

  // ---- Machine, for the running operation
  std::uint64_t Load(std::uint8_t word, bool own) override {
    Process& process = Self();
    if (cursor_ < process.log_size) return process.log[cursor_++];
    if (!own) MayStep(word);
    std::uint64_t value = now_->words[word];
    for (int i = 0; i < process.buffer_size; ++i)
      if (process.buffer_word[i] == word) value = process.buffer_value[i];
    if (!own) step_value_ = static_cast<std::uint32_t>(value);
    Record(value);
    return value;
  }
  void Store(std::uint8_t word, std::uint64_t value) override {
    Process& process = Self();
    if (cursor_ < process.log_size) return void(++cursor_);
    if (process.buffer_size == kBuffer) throw Disabled{};  // waits until something has drained
    process.buffer_word[process.buffer_size] = word;
    process.buffer_value[process.buffer_size++] = value;
    Record(0);
  }
  void Barrier() override {
    if (cursor_ < Self().log_size) return void(++cursor_);
    MayStep(kBarrierStep);
    if (Self().buffer_size != 0) throw Disabled{};
    Record(0);
  }
  std::uint64_t Add(std::uint8_t word, std::uint64_t value) override {
    if (cursor_ < Self().log_size) return Self().log[cursor_++];
    MayStep(word);
    if (Self().buffer_size != 0) throw Disabled{};
    now_->words[word] += value;
    Record(now_->words[word]);
    return now_->words[word];
  }
  bool Once() override {
    if (cursor_ < Self().log_size) {
      ++cursor_;
      return false;
    }
    Record(0);
    return true;
  }
  void Yield() override {
    if (cursor_ < Self().log_size) return void(++cursor_);
    MayStep(kYieldStep);
    Record(0);
  }
  bool Dead(int process) override {
    if (cursor_ < Self().log_size) return Self().log[cursor_++] != 0;
    MayStep(kDeadStep);
    Record(now_->processes[process].dead);
    return now_->processes[process].dead != 0;
  }
  void Fail(const char* what) override { throw Violation{what}; }

 private:
  struct Stop {};
  struct Disabled {};
  struct Violation {
    const char* what;
  };
  struct Node {
    std::uint32_t parent;
    std::uint32_t value;                   // that was read or written
    std::uint8_t process, kind, op, word;  // kind: 0 step, 1 a store drains, 2 death
    bool good;
  };
  struct Key {
    std::uint64_t a, b;
    bool operator==(const Key&) const = default;
  };
  struct HashKey {
    std::size_t operator()(const Key& key) const { return key.a; }
  };

  Process& Self() { return now_->processes[self_]; }
  void MayStep(std::uint8_t word) {
    if (stepped_) throw Stop{};
    stepped_ = true;
    step_word_ = word;
    step_value_ = 0;
  }
  void Record(std::uint64_t value) {
    Process& process = Self();
    if (process.log_size == kLog) throw Violation{"the operation is too long for the model"};
    process.log[process.log_size++] = value;
    ++cursor_;
  }

  // One more step of `process` inside or at the start of `op`. False: it cannot go on now.
  bool Step(State* state, int process, int op, const char** wrong) {
    now_ = state;
    self_ = process;
    cursor_ = 0;
    stepped_ = false;
    step_word_ = kQuietStep;
    step_value_ = 0;
    Process& self = state->processes[process];
    const int known = self.log_size;
    self.op = static_cast<std::uint8_t>(op + 1);
    Local local;
    std::memcpy(&local, &state->local[process], sizeof local);
    try {
      scenario_.Run(process, op, &local, &state->ghost);
    } catch (const Stop&) {
      return true;
    } catch (const Disabled&) {
      return self.log_size > known;  // it got as far as that; the rest must wait
    } catch (const Violation& violation) {
      *wrong = violation.what;
      return true;
    }
    std::memcpy(&state->local[process], &local, sizeof local);
    std::memset(self.log, 0, sizeof self.log);
    self.log_size = 0;
    self.op = 0;
    return true;
  }

  void Expand(std::uint32_t from, const State& state) {
    for (int process = 0; process < kProcesses; ++process) {
      const Process& self = state.processes[process];
      if (self.buffer_size > 0) {
        std::memcpy(&next_, &state, sizeof state);
        Process& draining = next_.processes[process];
        next_.words[draining.buffer_word[0]] = draining.buffer_value[0];
        step_word_ = draining.buffer_word[0];
        step_value_ = static_cast<std::uint32_t>(draining.buffer_value[0]);
        --draining.buffer_size;
        for (int i = 0; i < draining.buffer_size; ++i) {
          draining.buffer_word[i] = draining.buffer_word[i + 1];
          draining.buffer_value[i] = draining.buffer_value[i + 1];
        }
        draining.buffer_word[draining.buffer_size] = 0;
        draining.buffer_value[draining.buffer_size] = 0;
        Visit(next_, from, process, 1);
      }
      if (self.dead) continue;
      const unsigned ops = self.op != 0 ? 1u << (self.op - 1) : scenario_.Ops(state, process);
      for (int op = 0; ops >> op; ++op) {
        if (!((ops >> op) & 1)) continue;
        std::memcpy(&next_, &state, sizeof state);
        const char* wrong = nullptr;
        if (!Step(&next_, process, op, &wrong)) continue;
        if (wrong) return Report(from, process, op, wrong);
        Visit(next_, from, process, 0, op);
      }
      bool one_is_dead = false;
      for (const Process& other : state.processes) one_is_dead |= other.dead != 0;
      if (scenario_.MayDie(process) && !one_is_dead) {
        std::memcpy(&next_, &state, sizeof state);
        Process& dead = next_.processes[process];
        std::memset(&dead, 0, sizeof dead);
        dead.dead = 1;
        Visit(next_, from, process, 2);
      }
      if (found_.bad) return;
    }
  }

  void Visit(const State& state, std::uint32_t from, int process, int kind, int op = 0) {
    std::uint64_t words[sizeof(State) / 8];
    std::memcpy(words, &state, sizeof state);
    Key key{0x9e3779b97f4a7c15u, 0xc2b2ae3d27d4eb4fu};
    for (const std::uint64_t word : words) {
      key.a = (key.a ^ word) * 0x9fb21c651e98df25u;
      key.a ^= key.a >> 32;
      key.b = (key.b + word) * 0xd6e8feb86659fd93u;
      key.b ^= key.b >> 29;
    }
    const auto [at, fresh] = seen_.try_emplace(key, static_cast<std::uint32_t>(nodes_.size()));
    edges_.push_back({from, at->second});
    if (!fresh) return;
    nodes_.push_back({from, step_value_, static_cast<std::uint8_t>(process), static_cast<std::uint8_t>(kind),
                      static_cast<std::uint8_t>(op), step_word_, scenario_.Good(state)});
    pending_.emplace_back(at->second, state);
  }

  // Every state must be able to reach a good end.
  void LookForTheLost() {
    std::vector<std::uint32_t> first(nodes_.size() + 1, 0), into(edges_.size());
    for (const auto& [from, to] : edges_) ++first[to + 1];
    for (std::size_t i = 1; i < first.size(); ++i) first[i] += first[i - 1];
    std::vector<std::uint32_t> fill(first.begin(), first.end() - 1);
    for (const auto& [from, to] : edges_) into[fill[to]++] = from;
    std::vector<bool> saved(nodes_.size(), false);
    std::vector<std::uint32_t> open;
    for (std::uint32_t i = 0; i < nodes_.size(); ++i) {
      if (!nodes_[i].good) continue;
      saved[i] = true;
      open.push_back(i);
    }
    while (!open.empty()) {
      const std::uint32_t node = open.back();
      open.pop_back();
      for (std::uint32_t i = first[node]; i < first[node + 1]; ++i) {
        if (saved[into[i]]) continue;
        saved[into[i]] = true;
        open.push_back(into[i]);
      }
    }
    for (std::uint32_t i = 0; i < nodes_.size(); ++i)
      if (!saved[i]) return Report(i, -1, 0, "no good end can be reached any more");
  }

  void Report(std::uint32_t node, int process, int op, const char* what) {
    found_.bad = true;
    std::vector<std::string> steps;
    if (process >= 0)
      steps.push_back(Describe(
          {0, step_value_, static_cast<std::uint8_t>(process), 0, static_cast<std::uint8_t>(op), step_word_, false}));
    for (; node != 0; node = nodes_[node].parent) steps.push_back(Describe(nodes_[node]));
    found_.what = what;
    found_.what += "\nafter:";
    for (auto step = steps.rbegin(); step != steps.rend(); ++step) found_.what += "\n  " + *step;
  }
  std::string Describe(const Node& node) const {
    std::string text = Scenario::ProcessName(node.process);
    if (node.kind == 2) return text + " dies";
    if (node.kind == 0) text += std::string(" ") + Scenario::OpName(node.process, node.op) + ":";
    switch (node.word) {
      case kQuietStep:
        return text + " own stores";
      case kBarrierStep:
        return text + " barrier";
      case kYieldStep:
        return text + " own work";
      case kDeadStep:
        return text + " looks who is dead";
      default:
        return text + (node.kind == 1 ? " drains " : " ") + scenario_.layout.Name(node.word) + " = " +
               std::to_string(node.value);
    }
  }

  Scenario scenario_;
  const std::size_t states_max_;
  Found found_;
  std::unordered_map<Key, std::uint32_t, HashKey> seen_;
  std::vector<Node> nodes_;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> edges_;
  std::vector<std::pair<std::uint32_t, State>> pending_;
  State next_;
  State* now_ = nullptr;
  int self_ = 0;
  int cursor_ = 0;
  bool stepped_ = false;
  std::uint8_t step_word_ = 0;  // for the trace
  std::uint32_t step_value_ = 0;
};

}  // namespace sheaf::model
