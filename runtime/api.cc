// The compiled side of abi.h: what the typed headers call.
#include <pthread.h>

#include <cstdio>
#include <cstring>
#include <mutex>

#include "base/check.h"
#include "base/standard_streams.h"
#include "runtime/embedded_pool.h"
#include "runtime/getter.h"
#include "runtime/no_room.h"
#include "runtime/progress.h"
#include "runtime/typed/registry.h"
#include "runtime/working_files.h"
#include "sheaf/error.h"

namespace sheaf::runtime {

void RequireThisLife(std::uint16_t of, std::uint16_t life) {
  if (of != life)
    throw Error("this ref is from before Shutdown(), and its object has ended with the pool of that time");
}

namespace {

std::atomic<Context*> current{nullptr};
std::atomic<bool> forked{false};

// The child of a fork has the memory of this process but none of its threads, and both would write to the same rings.
void LeaveItToTheParent() {
  if (!current.exchange(nullptr)) return;
  forked.store(true);
}

}  // namespace

Context* CurrentContext() { return current.load(std::memory_order_acquire); }
void SetCurrentContext(Context* context) {
  [[maybe_unused]] static const int registered = pthread_atfork(nullptr, nullptr, &LeaveItToTheParent);
  if (context) forked.store(false);
  current.store(context, std::memory_order_release);
}

Context& RequireContext() {
  Context* context = CurrentContext();
  if (!context && forked.load())
    throw InitError(
        "this process was forked from one that uses Sheaf, and cannot go on with what that one has: call sheaf::Init() "
        "here too, or exec a program, or let the parent submit");
  if (!context) throw InitError("call sheaf::Init() first (and not after Shutdown)");
  return *context;
}

}  // namespace sheaf::runtime

namespace sheaf::detail {

using runtime::BlockRoot;
using runtime::Context;
using runtime::CurrentContext;
using runtime::ForeignRoot;
using runtime::ObjectRoot;
using runtime::RequireContext;
using runtime::Submitter;

void FreeRoot(Root* root) noexcept {
  Context* context = CurrentContext();
  // Refs from before a Shutdown are inert. What they kept has ended with their pool; their roots are left as they are.
  if (!context || root->life != context->life) return;
  Submitter::Lock lock(context->submitter());
  context->submitter().FreeLocked(root);
}

std::byte* Encoder::NewBlock(std::uint64_t size) {
  WritableBlock fresh(size);
  std::byte* at = fresh.data();
  AddBlock(std::move(fresh).Seal());
  return at;
}

void Encoder::AddRef(const RefCore& ref) {
  if (!ref.pin) throw Error("an empty ObjectRef cannot be sent; get refs from Put or Remote");
  Context& context = RequireContext();
  runtime::RequireThisLife(*ref.pin.get(), context.life);
  const ObjectId id = runtime::IdOf(context, *ref.pin.get());
  const std::uint32_t words[4] = {id.client, id.slot, id.generation, ref.element};
  Mark(kMarkRef);
  Raw(words, sizeof words);
  holds_.push_back(ref.pin);
}

Block Decoder::TakeBlock() {
  Encoder::Record record;
  std::memcpy(&record, Take(sizeof record), sizeof record);
  const store::WireLoc loc{record.loc.client, record.loc.segment, record.loc.offset};
  const std::byte* at = RequireContext().peers().Resolve(loc, record.size);
  if (!at) throw ObjectLostError("a block of this object is gone with the process that made it");
  return {PinForBlock(), at, record.size, record.loc};
}

RefCore Decoder::TakeRef() {
  std::uint32_t words[4];
  Raw(words, sizeof words);
  Context& context = RequireContext();
  const ObjectId id{words[0], words[1], words[2]};
  if (id.client == context.client) {
    ObjectRoot* root = context.submitter().slots().RootOf(id.slot);
    if (!root || root->refs.load() == 0 ||
        context.submitter().HomeOf(*root).generation.load(std::memory_order_relaxed) != id.generation)
      throw ObjectLostError("a stored ref names an object of this process that is no longer there");
    return {Pin::Share(root), words[3]};
  }
  store::Peer* peer = context.peers().FindOrAdd(id.client);
  if (!peer) throw ObjectLostError("a stored ref names an object of a process that is gone");
  peer->uses.fetch_add(1);
  auto* root = new ForeignRoot;
  root->kind = runtime::kForeignRoot;
  root->id = id;
  root->through = pin_;
  return {Pin::Share(root), words[3]};
}

WritableBlock::WritableBlock(std::uint64_t size) {
  Context& context = RequireContext();
  const store::OwnBlock block = context.Allocate(size);
  if (!block.data && context.socket().lost())
    throw PoolLostError("the pool of this machine has ended: there is no memory for new objects");
  if (!block.data) throw OutOfMemoryError(runtime::NoRoomFor(context, "a block", size));
  auto* root = new BlockRoot;
  root->kind = runtime::kBlockRoot;
  root->block = block;
  data_ = block.data;
  block_ = {Pin::Share(root), block.data, size, {context.client, block.segment, block.offset}};
}

RefCore Submit(std::uint32_t function, Encoder& arguments, const SubmitOptions& options) {
  const Function* entry = FunctionAt(function);
  SHEAF_CHECK(entry != nullptr);
  Context& context = RequireContext();
  RefCore ref = context.submitter().Submit(function, entry->digest, arguments, options);
  if (context.submitter().ShouldEase()) runtime::EaseOff(context);
  return ref;
}

RefCore PutStored(Encoder& value) { return RequireContext().submitter().Put(value); }

void OnWorkerStart(std::uint32_t function, Encoder& arguments) {
  Context& context = RequireContext();
  if (!arguments.dependencies().empty())
    throw Error("OnWorkerStart takes values, not results of tasks that may still run: Get them first");
  if (context.runner()) throw Error("OnWorkerStart was called inside a task; it is the driver's to call");
  {
    Submitter::Lock lock(context.submitter());
    if (context.submitter().outstanding() > 0 || context.submitter().core().size() > 0)
      throw Error(
          "OnWorkerStart must be called before the first task: a worker that is there already would not run it");
  }
  // Workers may start at any time from now on: what the arguments name stays until the process ends.
  static std::mutex mutex;
  static auto* holds = new std::vector<Pin>;
  {
    std::lock_guard lock(mutex);
    for (Pin& hold : arguments.holds()) holds->push_back(hold);
  }
  wire::StartCall call{};
  call.function = function;
  call.digest = FunctionAt(function)->digest;
  call.marked = arguments.AppendMarks() ? 1 : 0;
  if (!context.socket().Send(call, wire::Kind::kStartCall, arguments.payload()))
    throw Error("the arguments of OnWorkerStart must fit into 64 KiB; Put large values and pass an Array");
}

Stored Fetch(const RefCore& ref, Duration timeout) { return runtime::FetchObject(RequireContext(), ref, timeout); }
bool IsReady(const RefCore& ref) { return runtime::ObjectIsReady(RequireContext(), ref); }

void Init(int* argc, char** argv) {
  static std::mutex mutex;
  static bool at_exit = false;
  std::lock_guard lock(mutex);
  if (CurrentContext()) throw InitError("sheaf::Init was called twice; call Shutdown in between");
  OpenStandardStreams();
  const runtime::InitOptions options = runtime::TakeInitOptions(argc, argv);
  std::vector<runtime::WorkingFile> files;
  if (const std::string why = runtime::ListWorkingFiles(options.files, &files); !why.empty())
    throw InitError("the files that this program wants to take along (--sheaf-files, SHEAF_FILES) cannot travel: " +
                    why);
  runtime::UniqueFd socket =
      options.address.empty() ? runtime::StartEmbeddedPool(options) : runtime::ConnectToPool(options.address);
  std::unique_ptr<Context> context = Context::Attach(std::move(socket), wire::Role::kDriver, 0, nullptr, options.files);
  context->Start();
  runtime::SetCurrentContext(context.release());
  if (!at_exit) std::atexit(Shutdown);
  at_exit = true;
}

void Shutdown() noexcept {
  Context* context = CurrentContext();
  if (!context) return;
  if (context->runner()) {
    static std::atomic<bool> said{false};
    if (!said.exchange(true))
      std::fputs(
          "sheaf: sheaf::Shutdown() was called inside a task; it is the driver's to call, and does nothing here\n",
          stderr);
    return;
  }
  context->StopHooks();
  struct {
    wire::Header header;
  } goodbye{};
  context->socket().Send(goodbye, wire::Kind::kDetach);
  runtime::SetCurrentContext(nullptr);
  delete context;
  runtime::AwaitEmbeddedPool();
}

}  // namespace sheaf::detail
