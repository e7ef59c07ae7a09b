// The narrow door between the typed templates of the public headers and the compiled runtime.
//
// Everything above this line of the house is templates; everything below knows nothing of C++ types. A value
// crosses as a *stored form*: a short payload of bytes plus blocks of shared memory that the payload names.
//
// Thread-safety: every function may be called from any thread of a process after Init, unless it says otherwise.
// Standard library only: users compile this file.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sheaf {
using Duration = std::chrono::nanoseconds;
inline constexpr Duration kForever = Duration::max();
}  // namespace sheaf

namespace sheaf::detail {

// Where bytes lie: a byte of a segment of a client of this machine's pool.
struct Loc {
  std::uint32_t client = 0;
  std::uint32_t segment = 0;
  std::uint64_t offset = 0;
};

// Which object: a home slot of a client. `generation` tells apart the objects that lived in one slot.
struct ObjectId {
  std::uint32_t client = 0;
  std::uint32_t slot = 0;
  std::uint32_t generation = 0;
  friend bool operator==(const ObjectId&, const ObjectId&) = default;
};

// Counts the times that this process has joined a pool. It comes round after 65535 of them.
inline std::atomic<std::uint16_t> this_life{0};

// The counted, process-local entry for something this process keeps alive: an object, a block of memory, or the
// arguments of the task being run. Made and freed by the runtime only; never lies in shared memory.
struct Root {
  std::atomic<std::uint32_t> refs{0};
  std::uint16_t kind = 0;
  // Under which Init it was made: slots and segments of a later one have the same numbers and other contents.
  std::uint16_t life = this_life.load(std::memory_order_relaxed);
};
void FreeRoot(Root* root) noexcept;  // called when the last Pin is gone

// One count on a Root.
class Pin {
 public:
  Pin() = default;
  static Pin Adopt(Root* root) {  // takes over a count that the caller already holds
    Pin pin;
    pin.root_ = root;
    return pin;
  }
  static Pin Share(Root* root) {
    if (root) root->refs.fetch_add(1, std::memory_order_relaxed);
    return Adopt(root);
  }
  Pin(const Pin& other) : Pin(Share(other.root_)) {}
  Pin(Pin&& other) noexcept : root_(std::exchange(other.root_, nullptr)) {}
  Pin& operator=(const Pin& other) noexcept { return *this = Pin(other); }
  Pin& operator=(Pin&& other) noexcept {
    const Pin old = Adopt(std::exchange(root_, std::exchange(other.root_, nullptr)));
    return *this;
  }
  ~Pin() {
    if (root_ && root_->refs.fetch_sub(1, std::memory_order_acq_rel) == 1) FreeRoot(root_);
  }
  Root* get() const { return root_; }
  Root* release() { return std::exchange(root_, nullptr); }
  explicit operator bool() const { return root_ != nullptr; }

 private:
  Root* root_ = nullptr;
};

// A ref without its type: an object, or one element of an object that holds a tuple.
inline constexpr std::uint32_t kWhole = ~std::uint32_t{0};
struct RefCore {
  Pin pin;
  std::uint32_t element = kWhole;
};

// A read-only piece of shared memory, kept alive by `pin`. Mapped; 64-byte aligned where it begins a block.
struct Block {
  Pin pin;
  const std::byte* data = nullptr;
  std::uint64_t size = 0;
  Loc loc;
};

// Builds a stored form. Holds made here live as long as the object, task or result that the encoder is given to.
class Encoder {
 public:
  Encoder() = default;
  Encoder(const Encoder&) = delete;
  Encoder& operator=(const Encoder&) = delete;
  ~Encoder() {
    if (data_ != inline_) std::free(data_);
    if (dependencies_.capacity() > 0) KeepRoom(std::move(dependencies_));
  }

  void Raw(const void* bytes, std::size_t size) {
    if (size) std::memcpy(Extend(size), bytes, size);
  }
  // Appends `size` bytes that the caller fills before the next call.
  std::byte* Extend(std::size_t size) {
    if (size_ + size > capacity_) Grow(size_ + size);
    std::byte* at = data_ + size_;
    size_ += size;
    return at;
  }
  // Pads with zeros to a multiple of `alignment` (at most 16), counted from the payload's start.
  void Align(std::size_t alignment) {
    while (size_ % alignment) *Extend(1) = std::byte{0};
  }
  // Appends a 24-byte record that names `block`, and keeps it alive. One from before Shutdown is copied.
  void AddBlock(const Block& block) {
    if (block.pin && block.pin.get()->life != this_life.load(std::memory_order_relaxed)) return CopyBlock(block);
    Mark(0);
    const Record record{block.loc, block.size};
    Raw(&record, sizeof record);
    holds_.push_back(block.pin);
  }
  // Appends a record that names a fresh block of `size` bytes of this process's memory and returns where to write.
  // Throws OutOfMemoryError when the store's budget is spent.
  std::byte* NewBlock(std::uint64_t size);
  // Appends a 16-byte record that names `ref` without waiting for it, and keeps it alive.
  void AddRef(const RefCore& ref);
  // Arguments only: the task waits for `ref`; returns the index under which Arguments::Dependency finds it.
  // `unwrap` says how often the value is itself a ref that must be followed and awaited.
  std::uint32_t Depend(const RefCore& ref, std::uint32_t unwrap = 0) {
    if (dependencies_.capacity() == 0) dependencies_ = TakeRoom();
    dependencies_.push_back({ref, unwrap});
    return static_cast<std::uint32_t>(dependencies_.size() - 1);
  }

  std::span<const std::byte> payload() const { return {data_, size_}; }
  // Where the payload names memory or objects: offsets, with kMarkRef added for those of refs. A relay carries a payload to
  // another machine without knowing its type; there these records must name something else.
  static constexpr std::uint32_t kMarkRef = 1u << 31;
  std::span<const std::uint32_t> marks() const { return marks_; }
  void Mark(std::uint32_t kind);  // the record that is written next
  // Appends the marks to the payload, as they are stored behind it; returns how many bytes that took. 0: there are none.
  std::size_t AppendMarks();
  struct Dependency {
    RefCore ref;
    std::uint32_t unwrap;
  };
  std::vector<Dependency>& dependencies() { return dependencies_; }
  std::vector<Pin>& holds() { return holds_; }
  void Clear();  // forgets everything written so far

  struct Record {
    Loc loc;
    std::uint64_t size;
  };

 private:
  void Grow(std::size_t need);
  void CopyBlock(const Block& block);
  // Each thread keeps the room of the last call for the next one.
  static std::vector<Dependency> TakeRoom();
  static void KeepRoom(std::vector<Dependency> dependencies) noexcept;

  std::byte* data_ = inline_;
  std::size_t size_ = 0, capacity_ = sizeof inline_;
  std::vector<Pin> holds_;
  std::vector<Dependency> dependencies_;
  std::vector<std::uint32_t> marks_;
  alignas(16) std::byte inline_[256];
};

// A value as it is stored, ready to be decoded. The payload lies in shared memory and stays while `pin` is held.
struct Stored {
  std::span<const std::byte> payload;
  Pin pin;
  std::uint32_t element = kWhole;      // which element of a tuple is meant
  bool error = false;                  // the payload is what EncodeError wrote
  std::span<const std::byte> marks{};  // u32 each, as Encoder::marks() has them; not checked against the payload
};
// Takes the marks off what was stored with Encoder::AppendMarks. False: the bytes are damaged.
bool SplitMarks(std::span<const std::byte>* payload, std::span<const std::byte>* marks);

// Reads a stored form. Everything is bounds-checked; a short or wrong payload throws Error.
class Decoder {
 public:
  Decoder(std::span<const std::byte> payload, Pin pin)
      : begin_(payload.data()), at_(begin_), end_(begin_ + payload.size()), pin_(std::move(pin)) {}
  // `size` bytes in place; valid while pin() is held.
  const std::byte* Take(std::size_t size) {
    if (size > static_cast<std::size_t>(end_ - at_)) ThrowShort();
    return std::exchange(at_, at_ + size);
  }
  void Raw(void* to, std::size_t size) {
    if (size) std::memcpy(to, Take(size), size);
  }
  void Align(std::size_t alignment) {
    Take((alignment - static_cast<std::size_t>(at_ - begin_) % alignment) % alignment);
  }
  void Seek(std::size_t offset) {  // from the payload's start
    if (offset > static_cast<std::size_t>(end_ - begin_)) ThrowShort();
    at_ = begin_ + offset;
  }
  std::size_t remaining() const { return static_cast<std::size_t>(end_ - at_); }
  Block TakeBlock();  // maps the block on first sight of its segment
  RefCore TakeRef();
  const Pin& pin() const { return pin_; }
  // One handle only will be read: it may take the pin over, which saves counting it up and down again.
  void GivePin() { gives_pin_ = true; }

 private:
  [[noreturn]] static void ThrowShort();
  Pin PinForBlock() { return gives_pin_ ? std::move(pin_) : pin_; }
  bool gives_pin_ = false;
  const std::byte *begin_, *at_, *end_;
  Pin pin_;
};

// What a running task was given.
struct Arguments {
  Decoder payload;
  std::vector<Stored> dependencies;
};

// The table of functions, filled before main by instantiating Remote<F>. Index and order are the same in every
// process that runs the same executable.
struct Function {
  std::string_view name;       // mangled, as typeid gives it; unique only together with the table's index
  std::string_view signature;  // argument and result types after decay, mangled
  std::uint64_t digest;        // hash of name and signature; compared before a task runs
  void (*run)(Arguments& arguments, Encoder& result);  // throws what the user's function throws
};
std::uint32_t RegisterFunction(const Function& function);  // before main or from dlopen; returns the index
std::string DescribeFunction(std::uint32_t index);         // readable name and signature

struct SubmitOptions {
  std::string_view name;  // empty: the function's own
  double cpus = 1;
  int retries = 3;
  Duration deadline = kForever;
  int attempt = 1;         // of a task that comes from elsewhere
  std::string_view needs;  // as FormatNeeds writes them
};
// Captures the arguments and returns at once. Blocks only for back-pressure, throws only typed errors.
RefCore Submit(std::uint32_t function, Encoder& arguments, const SubmitOptions& options);
RefCore PutStored(Encoder& value);
// Runs `function` in every worker of this job before its first task.
void OnWorkerStart(std::uint32_t function, Encoder& arguments);

// Waits until the object is ready. Throws TimeoutError, ObjectLostError, PoolLostError.
Stored Fetch(const RefCore& ref, Duration timeout);
bool IsReady(const RefCore& ref);

// A private, writable block of this process; Seal turns it into a read-only handle. Dropped unsealed, it is freed.
class WritableBlock {
 public:
  explicit WritableBlock(std::uint64_t size);  // OutOfMemoryError
  WritableBlock(WritableBlock&&) noexcept = default;
  WritableBlock& operator=(WritableBlock&&) noexcept = default;
  std::byte* data() { return data_; }
  std::uint64_t size() const { return block_.size; }
  Block Seal() && { return std::move(block_); }

 private:
  Block block_;
  std::byte* data_ = nullptr;
};

// Hands out tokens of objects in the order in which they become ready. One consumer at a time.
class ReadyQueue;
std::shared_ptr<ReadyQueue> MakeReadyQueue();
void AddToQueue(const std::shared_ptr<ReadyQueue>& queue, const RefCore& ref, std::size_t token);
bool NextReady(ReadyQueue& queue, std::size_t* token, Duration timeout);  // false: timeout
// Calls `f` once, on a thread of the runtime or at once, when the object is ready. `f` must not block.
void CallWhenReady(const RefCore& ref, std::function<void()> f);

// Written by the typed layer (error.cc), called by the runtime. A task's exception becomes a stored form.
struct TaskIdentity {
  std::string task;
  int attempt = 1;
};
void EncodeException(const TaskIdentity& task, Encoder& out) noexcept;  // the exception in flight
[[noreturn]] void ThrowStored(std::span<const std::byte> payload);      // TaskError or the user's type with TaskInfo
// Errors of the runtime itself, in the same stored form: kind is one of those listed in error.h.
std::string DescribeError(const Stored& stored);                           // one line; of a damaged one, that it is
void EncodeRuntimeError(std::string_view kind, std::string_view message, const TaskIdentity& task, Encoder& out);

void Init(int* argc, char** argv);
void Shutdown() noexcept;

}  // namespace sheaf::detail
