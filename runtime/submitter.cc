// submit: a task record in our own slab, a place in the backlog or at once in a worker's ring.
#include "runtime/submitter.h"

#include <cmath>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/clock.h"
#include "sheaf/error.h"

namespace sheaf::runtime {

using store::HomeKind;
using store::HomeWord;

Submitter::Submitter(const Parts& parts, SlotTable::MakeSlab make_slab)
    : parts_(parts), slots_(parts.control, std::move(make_slab)) {
  shapes_.reserve(limits::kShapesMax);
  shapes_.emplace_back();
}

Submitter::Lock::~Lock() {
  if (!submitter_.patient_hooks_.empty()) submitter_.run_patiently(std::exchange(submitter_.patient_hooks_, {}));
  if (submitter_.due_hooks_.empty()) return;
  std::vector<std::function<void()>> hooks;
  hooks.swap(submitter_.due_hooks_);
  lock_.unlock();
  ++running_hooks;
  for (auto& hook : hooks) hook();
  hooks.clear();  // what they hold may end with them, which takes the lock
  --running_hooks;
  lock_.lock();
  if (submitter_.local_sleepers > 0) submitter_.RingLocked();  // what a hook has delivered may be awaited
}

ObjectRoot* Submitter::AllocateLocked() {
  ObjectRoot* root = slots_.Allocate();
  if (!root) {
    throw OutOfMemoryError(
        "no memory for more queued tasks and objects: the pool refused another slab of home slots. Drop refs that are "
        "no longer needed, or start the pool with a larger --store");
  }
  return root;
}

Extra& Submitter::ExtraOf(ObjectRoot* root) {
  if (!root->extra) {
    if (spare_extras_.empty()) {
      root->extra = new Extra;
    } else {
      root->extra = spare_extras_.back();
      spare_extras_.pop_back();
    }
  }
  return *root->extra;
}

void Submitter::GiveExtraLocked(ObjectRoot* root) {
  constexpr std::size_t kSpareMax = 8192, kRoomMax = 64;
  Extra* extra = std::exchange(root->extra, nullptr);
  if (!extra) return;
  if (spare_extras_.size() >= kSpareMax || extra->holds.capacity() > kRoomMax || !extra->private_error.empty()) {
    delete extra;
    return;
  }
  extra->holds.clear();
  extra->hooks.clear();
  extra->name.clear();
  extra->kept_by = extra->made_by = 0;
  extra->away = extra->lost = false;
  extra->away_depth = 0;
  extra->speaks = false;
  extra->stands_in.clear();
  extra->cpus_milli = extra->shape = 0;
  spare_extras_.push_back(extra);
}

// Dependencies first, then the payload; what does not fit into the record goes into a block of our own.
void Submitter::StoreArgumentsLocked(ObjectRoot* root, store::TaskRecord& record, detail::Encoder& arguments) {
  auto& dependencies = arguments.dependencies();
  const std::size_t fixed = dependencies.size() * sizeof(store::DependencyRecord);
  record.dependencies = static_cast<std::uint16_t>(dependencies.size());
  record.size = static_cast<std::uint32_t>(arguments.payload().size());
  const std::size_t marks = arguments.AppendMarks();
  record.flags = marks ? store::kTaskMarked : 0;
  const auto payload = arguments.payload();
  std::byte* to = record.inline_bytes;
  const bool in_block = fixed + payload.size() > sizeof record.inline_bytes;
  if (!in_block && dependencies.empty() && arguments.holds().empty()) {
    std::memcpy(to, payload.data(), payload.size());
    return;
  }
  std::vector<Pin>* holds = &ExtraOf(root).holds;
  if (in_block) {
    const store::OwnBlock block = AllocateBlockLocked(fixed + payload.size());
    if (!block.data) throw OutOfMemoryError("no room in the object store for a task's arguments");
    auto* held = new BlockRoot;
    held->kind = kBlockRoot;
    held->block = block;
    holds->push_back(Pin::Share(held));
    record.flags |= store::kTaskArgumentsInBlock;
    const store::BlockRecord named{{parts_.client, block.segment, block.offset}, fixed + payload.size()};
    std::memcpy(record.inline_bytes, &named, sizeof named);
    to = block.data;
  } else if (marks) {
    record.flags = static_cast<std::uint16_t>(record.flags | marks << store::kTaskMarksShift);
  }
  for (auto& [ref, unwrap] : dependencies) {
    store::DependencyRecord named{};
    if (ref.pin.get()->kind == kForeignRoot) {
      const auto& id = static_cast<const ForeignRoot*>(ref.pin.get())->id;
      named.client = id.client;
      named.slot = id.slot;
      named.generation = id.generation;
    } else {
      const auto* root = static_cast<const ObjectRoot*>(ref.pin.get());
      named.client = parts_.client;
      named.slot = root->slot;
      named.generation = HomeOf(*root).generation.load(std::memory_order_relaxed);
    }
    named.element = ref.element == detail::kWhole ? store::kWholeElement : static_cast<std::uint16_t>(ref.element);
    named.unwrap = static_cast<std::uint16_t>(unwrap);
    std::memcpy(to, &named, sizeof named);
    to += sizeof named;
    holds->push_back(std::move(ref.pin));
  }
  std::memcpy(to, payload.data(), payload.size());
  for (auto& hold : arguments.holds()) holds->push_back(std::move(hold));
}

// The pool hears of a shape before the first wish for it: both go through one socket.
std::uint32_t Submitter::ShapeForLocked(std::string_view needs) {
  for (std::uint32_t shape = 1; shape < shapes_.size(); ++shape)
    if (shapes_[shape].needs == needs) return shape;
  if (shapes_.size() == limits::kShapesMax)
    throw LimitError("the tasks of one process may have " + std::to_string(limits::kShapesMax - 1) +
                     " different sets of resources and labels; '" + std::string(needs) + "' is one more");
  shapes_.emplace_back();
  shapes_.back().needs = needs;
  wire::Shape message{};
  message.shape = static_cast<std::uint32_t>(shapes_.size() - 1);
  parts_.socket->Send(message, wire::Kind::kShape, std::as_bytes(std::span(needs)));
  return message.shape;
}

RefCore Submitter::Submit(std::uint32_t function, std::uint64_t digest, detail::Encoder& arguments,
                          const detail::SubmitOptions& options) {
  if (arguments.dependencies().size() > 0xffff) throw Error("a task takes at most 65535 refs");
  for (const auto& dependency : arguments.dependencies()) {
    if (!dependency.ref.pin) throw Error("an empty ObjectRef was passed to a task; get refs from Put or Remote");
    RequireThisLife(*dependency.ref.pin.get(), parts_.life);
  }
  Pin ref;
  Lock lock(*this);
  const std::uint32_t shape = options.needs.empty() ? 0 : ShapeForLocked(options.needs);
  ObjectRoot* root = AllocateLocked();
  root->refs.store(2, std::memory_order_relaxed);  // the caller's ref, and the task itself until it is done
  root->retries = static_cast<std::int16_t>(std::clamp(options.retries, 0, 32767));
  root->phase = Phase::kInline;  // in no queue yet
  ++outstanding_;
  ref = Pin::Adopt(root);
  store::TaskRecord& record = slots_.SlotOf(*root).task;
  record.function = function;
  record.digest = digest;
  record.attempt = static_cast<std::uint16_t>(root->attempt = static_cast<std::uint16_t>(options.attempt));
  record.retries = static_cast<std::uint16_t>(root->retries);
  try {
    StoreArgumentsLocked(root, record, arguments);
  } catch (...) {
    FailLocked(root, "OutOfMemoryError", "no room in the object store for a task's arguments");
    throw;
  }
  if (!options.name.empty()) ExtraOf(root).name = options.name;
  if (options.cpus > 1 && (options.cpus <= parts_.slots || parts_.clustered)) {
    ExtraOf(root).cpus_milli = static_cast<std::uint32_t>(std::ceil(options.cpus * 1000));
    ++shapes_[shape].wide[root->extra->cpus_milli];
  }
  if (shape != 0) {
    ExtraOf(root).shape = shape;
    ++shapes_[shape].outstanding;
  }
  if (options.cpus > parts_.slots && !parts_.clustered) {
    FailLocked(root, "InfeasibleError",
               "the task asks for " + std::to_string(options.cpus) + " cpus, the pool has " +
                   std::to_string(parts_.slots) + " slots; ask for less or start the pool with more --workers");
    return {std::move(ref), detail::kWhole};
  }
  if (pool_lost_) {
    FailLocked(root, "PoolLostError", "the pool of this machine has ended; no task can be started any more");
    return {std::move(ref), detail::kWhole};
  }
  if (backlog_size_ == 0 && TryPushLocked(root, function)) {
    FlushBellLocked(PairAt(root->pair.load(std::memory_order_relaxed)));
    if (active_.size() < parts_.slots) WantLocked();
    return {std::move(ref), detail::kWhole};
  }
  if (std::exchange(helper_idle, false)) RingLocked();
  root->phase = Phase::kBacklog;
  ShapeQueue& queue = shapes_[shape];
  if (parts_.clustered && (shape == 0 ? backlog_size_ : queue.waiting) == 0) queue.last_ready = NowNanos();
  queue.backlog.push_back(Place(*root));
  WaitsLocked(*root);
  // The rings are full or nobody is leased yet. Look for progress now and then, not at every call.
  if (active_.empty() || (backlog_size_ & 31) == 1 || (shape != 0 && queue.waiting == 1)) PumpLocked();
  if (backlog_size_ <= kBacklogEasy) ease_above_ = kBacklogEasy;
  if (backlog_size_ > ease_above_ && !parts_.is_worker && core_.CostOf(function) < kShortNanos)
    should_ease_.store(true, std::memory_order_relaxed);
  return {std::move(ref), detail::kWhole};
}

void Submitter::EasedLocked(std::uint64_t before) {
  should_ease_.store(false, std::memory_order_relaxed);
  ease_above_ = backlog_size_ + kBacklogEasy / 64 < before ? kBacklogEasy : backlog_size_ * 2;
}

RefCore Submitter::Put(detail::Encoder& value) {
  std::uint32_t flags = value.AppendMarks() ? store::kFlagMarked : 0;
  const auto payload = value.payload();
  store::BlockRecord named{};
  Pin block_pin;
  std::span<const std::byte> bytes = payload;
  if (payload.size() > limits::kPayloadInline) {
    store::OwnBlock block = parts_.heap->Allocate(payload.size());
    if (!block.data) {
      Lock lock(*this);
      block = AllocateBlockLocked(payload.size());
    }
    if (!block.data) throw OutOfMemoryError("no room in the object store for a value; drop refs or raise the budget");
    auto* held = new BlockRoot;
    held->kind = kBlockRoot;
    held->block = block;
    block_pin = Pin::Share(held);
    std::memcpy(block.data, payload.data(), payload.size());
    named = {{parts_.client, block.segment, block.offset}, payload.size()};
    bytes = std::as_bytes(std::span(&named, 1));
    flags |= store::kFlagBlockPayload;
  }
  Lock lock(*this);
  ObjectRoot* root = AllocateLocked();
  root->refs.store(1, std::memory_order_relaxed);
  root->phase = Phase::kReady;
  if (block_pin || !value.holds().empty()) {
    Extra& extra = ExtraOf(root);
    if (block_pin) extra.holds.push_back(std::move(block_pin));
    for (auto& hold : value.holds()) extra.holds.push_back(std::move(hold));
  }
  store::HomeSlot& home = HomeOf(*root);
  home.size = static_cast<std::uint32_t>(bytes.size());
  std::memcpy(home.payload, bytes.data(), bytes.size());
  home.word.store(HomeWord{HomeKind::kValue, flags}.Pack(), std::memory_order_release);
  return {Pin::Adopt(root), detail::kWhole};
}

RefCore Submitter::Promise() {
  Lock lock(*this);
  ObjectRoot* root = AllocateLocked();
  root->refs.store(2, std::memory_order_relaxed);  // the caller's, and the promise itself until it is kept
  root->phase = Phase::kInline;
  ++outstanding_;
  ++promised_;
  return {Pin::Adopt(root), detail::kWhole};
}

void Submitter::KeepPromise(ObjectRoot* root, std::uint32_t flags, std::span<const std::byte> payload,
                            std::vector<Pin> holds) {
  Lock lock(*this);
  SHEAF_CHECK(promised_ > 0);
  --promised_;
  FinishInlineLocked(root, flags, payload, std::move(holds));
}

bool Submitter::TakeForInlineLocked(ObjectRoot* root) {
  if (root->phase != Phase::kBacklog || !MayRunHereLocked(ShapeOf(*root))) return false;
  // Its entry in a queue stays behind and is skipped: the phase says that it is taken.
  root->phase = Phase::kInline;
  WaitsNoMoreLocked(*root);
  return true;
}

void Submitter::FinishInlineLocked(ObjectRoot* root, std::uint32_t flags, std::span<const std::byte> payload,
                                   std::vector<Pin> holds) {
  SHEAF_CHECK(root->phase == Phase::kInline && payload.size() <= limits::kPayloadInline);
  store::HomeSlot& home = HomeOf(*root);
  home.size = static_cast<std::uint32_t>(payload.size());
  if (!payload.empty()) std::memcpy(home.payload, payload.data(), payload.size());
  root->result_record = 0;
  home.word.store(HomeWord{HomeKind::kValue, flags}.Pack(), std::memory_order_release);
  if (!holds.empty()) ExtraOf(root).holds = std::move(holds);
  ReadyLocked(root);
}

// While anything lies on other machines the user's hooks have a thread of their own: if they read it on the helper's, they would wait
// for what only the helper can bring.
void Submitter::RunSoonLocked(Hook hook) {
  const bool may_wait = hook.may_read && (away_count_ > 0 || !must_come_.empty());
  (may_wait ? patient_hooks_ : due_hooks_).push_back(std::move(hook.call));
}

void Submitter::AddHook(ObjectRoot* root, Hook hook) {
  Lock lock(*this);
  if (root->phase == Phase::kReady) {
    RunSoonLocked(std::move(hook));
  } else {
    ExtraOf(root).hooks.push_back(std::move(hook));
  }
}

}  // namespace sheaf::runtime
