// The runtime's side of detail/abi.h in one process and without shared memory, for tests of the typed layer.
//
// A task runs when it is submitted, or when the test says so; its result is kept as the payload
// that it wrote, so every value passes through its stored form as it would between processes.
// Waiting for a task that nobody will run is a TimeoutError at once: no test sleeps. Single-threaded.
#include "tests/support/in_process_abi.h"

#include <deque>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>

#include "runtime/typed/registry.h"
#include "sheaf/error.h"

namespace sheaf::detail {
namespace {

struct FakeBlock : Root {
  std::byte* data = nullptr;
  std::uint64_t size = 0;
};
struct FakeObject : Root {
  bool ready = false, error = false;
  // 16-byte aligned, as the runtime's payloads are.
  std::vector<std::max_align_t> storage;
  std::size_t size = 0;
  std::vector<Pin> holds;
  std::vector<std::function<void()>> hooks;

  std::span<const std::byte> payload() const { return {reinterpret_cast<const std::byte*>(storage.data()), size}; }
};
struct FakeTask {
  std::uint32_t function = 0;
  std::string name;
  Pin arguments;  // a FakeObject with the payload
  std::vector<Encoder::Dependency> dependencies;
  Pin result;
};

enum : std::uint32_t { kBlock = 1, kObject = 2 };

struct World {
  std::size_t blocks = 0, objects = 0;
  std::map<std::uintptr_t, FakeBlock*> by_end;  // first byte after a block -> block
  std::deque<FakeTask> waiting;
  bool deferred = false;
  in_process::LastSubmit last;
};
World& TheWorld() {
  static World* const world = new World;
  return *world;
}

FakeObject* ObjectOf(const RefCore& ref) { return static_cast<FakeObject*>(ref.pin.get()); }

Pin NewBlockRoot(std::uint64_t size) {
  if (size > (std::uint64_t{1} << 32)) throw OutOfMemoryError("larger than the store's budget");
  auto* block = new FakeBlock;
  block->kind = kBlock;
  block->refs = 1;
  block->size = size;
  block->data = static_cast<std::byte*>(::operator new(size + 1, std::align_val_t{64}));
  TheWorld().by_end[reinterpret_cast<std::uintptr_t>(block->data) + size + 1] = block;
  ++TheWorld().blocks;
  return Pin::Adopt(block);
}
Loc LocOf(const std::byte* data) { return {7, 1, reinterpret_cast<std::uintptr_t>(data)}; }

Pin NewObject(std::span<const std::byte> payload, std::vector<Pin> holds, bool ready) {
  auto* object = new FakeObject;
  object->kind = kObject;
  object->refs = 1;
  object->storage.resize(payload.size() / sizeof(std::max_align_t) + 1);
  if (!payload.empty()) std::memcpy(object->storage.data(), payload.data(), payload.size());
  object->size = payload.size();
  object->holds = std::move(holds);
  object->ready = ready;
  ++TheWorld().objects;
  return Pin::Adopt(object);
}

void Finish(FakeObject& object, Encoder& value, bool error) {
  const auto payload = value.payload();
  object.storage.resize(payload.size() / sizeof(std::max_align_t) + 1);
  if (!payload.empty()) std::memcpy(object.storage.data(), payload.data(), payload.size());
  object.size = payload.size();
  object.holds = std::move(value.holds());
  object.error = error;
  object.ready = true;
  for (auto& hook : std::exchange(object.hooks, {})) hook();
}

Stored StoredOf(const RefCore& ref) {
  const FakeObject& object = *ObjectOf(ref);
  return {object.payload(), ref.pin, ref.element, object.error};
}

// Follows a value that is a ref, `unwrap` times.
RefCore Follow(RefCore ref, std::uint32_t unwrap) {
  for (; unwrap; --unwrap) {
    if (!ObjectOf(ref)->ready || ObjectOf(ref)->error) return ref;
    Decoder from(ObjectOf(ref)->payload(), ref.pin);
    if (ref.element != kWhole) {
      std::uint32_t offset = 0;
      from.Seek(4 * ref.element);
      from.Raw(&offset, sizeof offset);
      from.Seek(offset);
    }
    ref = from.TakeRef();
  }
  return ref;
}

void Run(FakeTask task) {
  Encoder result;
  bool error = false;
  auto* arguments_object = static_cast<FakeObject*>(task.arguments.get());
  Arguments arguments{Decoder(arguments_object->payload(), task.arguments), {}};
  for (const auto& dependency : task.dependencies) {
    const RefCore followed = Follow(dependency.ref, dependency.unwrap);
    if (!ObjectOf(followed)->ready) throw std::logic_error("the test ran a task before its input");
    arguments.dependencies.push_back(StoredOf(followed));
    if (ObjectOf(followed)->error) {  // thrown on before the task is called
      try {
        ThrowStored(ObjectOf(followed)->payload());
      } catch (...) {
        EncodeException({task.name, 1}, result);
      }
      return Finish(*static_cast<FakeObject*>(task.result.get()), result, true);
    }
  }
  try {
    FunctionAt(task.function)->run(arguments, result);
  } catch (...) {
    EncodeException({task.name, 1}, result);
    error = true;
  }
  Finish(*static_cast<FakeObject*>(task.result.get()), result, error);
}

}  // namespace

void FreeRoot(Root* root) noexcept {
  if (root->kind == kBlock) {
    auto* block = static_cast<FakeBlock*>(root);
    TheWorld().by_end.erase(reinterpret_cast<std::uintptr_t>(block->data) + block->size + 1);
    ::operator delete(block->data, std::align_val_t{64});
    delete block;
    --TheWorld().blocks;
  } else {
    delete static_cast<FakeObject*>(root);
    --TheWorld().objects;
  }
}

std::byte* Encoder::NewBlock(std::uint64_t size) {
  Pin pin = NewBlockRoot(size);
  std::byte* data = static_cast<FakeBlock*>(pin.get())->data;
  AddBlock({std::move(pin), data, size, LocOf(data)});
  return data;
}
void Encoder::AddRef(const RefCore& ref) {
  const std::uint64_t record[2] = {reinterpret_cast<std::uintptr_t>(ref.pin.get()), ref.element};
  static_assert(sizeof record == 16);
  Raw(record, sizeof record);
  holds_.push_back(ref.pin);
}
Block Decoder::TakeBlock() {
  Encoder::Record record{};
  Raw(&record, sizeof record);
  const auto found = TheWorld().by_end.upper_bound(record.loc.offset);
  if (found == TheWorld().by_end.end()) throw FormatError("no such block");
  FakeBlock* block = found->second;
  const auto* data = reinterpret_cast<const std::byte*>(record.loc.offset);
  if (data < block->data || data + record.size > block->data + block->size) throw FormatError("no such block");
  return {Pin::Share(block), data, record.size, record.loc};
}
RefCore Decoder::TakeRef() {
  std::uint64_t record[2];
  Raw(record, sizeof record);
  return {Pin::Share(reinterpret_cast<Root*>(record[0])), static_cast<std::uint32_t>(record[1])};
}
WritableBlock::WritableBlock(std::uint64_t size) {
  Pin pin = NewBlockRoot(size);
  data_ = static_cast<FakeBlock*>(pin.get())->data;
  block_ = {std::move(pin), data_, size, LocOf(data_)};
}

RefCore Submit(std::uint32_t function, Encoder& arguments, const SubmitOptions& options) {
  World& world = TheWorld();
  world.last = {std::string(options.name), options.cpus, options.retries, arguments.dependencies().size(),
                arguments.payload().size()};
  const std::string name =
      options.name.empty() ? ReadableFunctionName(FunctionAt(function)->name) : std::string(options.name);
  FakeTask task{function, name, NewObject(arguments.payload(), std::move(arguments.holds()), true),
                std::move(arguments.dependencies()), NewObject({}, {}, false)};
  RefCore result{task.result};
  if (world.deferred) {
    world.waiting.push_back(std::move(task));
  } else {
    Run(std::move(task));
  }
  return result;
}
RefCore PutStored(Encoder& value) { return {NewObject(value.payload(), std::move(value.holds()), true)}; }
void OnWorkerStart(std::uint32_t function, Encoder& arguments) { Submit(function, arguments, {}); }

Stored Fetch(const RefCore& ref, Duration) {
  if (!ObjectOf(ref)->ready) throw TimeoutError("not ready in time");
  return StoredOf(ref);
}
bool IsReady(const RefCore& ref) { return ObjectOf(ref)->ready; }

class ReadyQueue {
 public:
  std::deque<std::size_t> ready;
};
std::shared_ptr<ReadyQueue> MakeReadyQueue() { return std::make_shared<ReadyQueue>(); }
void AddToQueue(const std::shared_ptr<ReadyQueue>& queue, const RefCore& ref, std::size_t token) {
  CallWhenReady(ref, [queue, token] { queue->ready.push_back(token); });
}
bool NextReady(ReadyQueue& queue, std::size_t* token, Duration timeout) {
  while (timeout != Duration::zero() && queue.ready.empty() && !TheWorld().waiting.empty()) in_process::RunNext();
  if (queue.ready.empty()) return false;
  *token = queue.ready.front();
  queue.ready.pop_front();
  return true;
}
void CallWhenReady(const RefCore& ref, std::function<void()> f) {
  if (ObjectOf(ref)->ready) {
    f();
  } else {
    ObjectOf(ref)->hooks.push_back(std::move(f));
  }
}
void Init(int*, char**) {}
void Shutdown() noexcept {}

}  // namespace sheaf::detail

namespace sheaf::in_process {

void Defer(bool deferred) { detail::TheWorld().deferred = deferred; }
void RunNext(std::size_t index) {
  auto& waiting = detail::TheWorld().waiting;
  detail::FakeTask task = std::move(waiting.at(index));
  waiting.erase(waiting.begin() + static_cast<std::ptrdiff_t>(index));
  detail::Run(std::move(task));
}
std::size_t WaitingTasks() { return detail::TheWorld().waiting.size(); }
std::size_t LiveBlocks() { return detail::TheWorld().blocks; }
std::size_t LiveObjects() { return detail::TheWorld().objects; }
const LastSubmit& Last() { return detail::TheWorld().last; }
detail::RefCore MakeObject(std::span<const std::byte> payload) { return {detail::NewObject(payload, {}, true)}; }
std::vector<std::byte> PayloadOf(const detail::RefCore& ref) {
  const auto payload = detail::ObjectOf(ref)->payload();
  return {payload.begin(), payload.end()};
}
detail::RefCore MakeFailed(std::string_view kind, std::string_view message, const detail::TaskIdentity& task) {
  detail::Encoder error;
  detail::EncodeRuntimeError(kind, message, task, error);
  detail::RefCore ref{detail::NewObject({}, {}, false)};
  detail::Finish(*detail::ObjectOf(ref), error, true);
  return ref;
}

}  // namespace sheaf::in_process
