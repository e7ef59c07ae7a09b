// execute: inputs into the function, its result or exception into a stored form, and inline runs inside Get.
#include <algorithm>
#include <cstdio>
#include <cstring>

#include "base/check.h"
#include "base/clock.h"
#include "runtime/typed/registry.h"
#include "sheaf/error.h"
#include "worker/executor.h"

namespace sheaf::worker {

using detail::Pin;
using runtime::IncomingRoot;
using runtime::Probed;

IncomingRoot* Executor::TakeIncoming() {
  IncomingRoot* incoming = nullptr;
  if (spare_incoming_.empty()) {
    incoming = new IncomingRoot;
    incoming->kind = runtime::kIncomingRoot;
  } else {
    incoming = spare_incoming_.back();
    spare_incoming_.pop_back();
  }
  incoming->refs.store(1, std::memory_order_relaxed);
  incoming->submitter = 0;
  incoming->kept = false;
  return incoming;
}

// False while an input has no value yet. A lost input becomes an error that the task's result repeats.
bool Executor::Gather(const Entry& entry, const store::TaskRecord& record, IncomingRoot* incoming,
                      std::vector<detail::Stored>* dependencies) {
  const std::byte* at = record.inline_bytes;
  const std::size_t bytes = record.dependencies * sizeof(store::DependencyRecord);
  if (record.flags & store::kTaskArgumentsInBlock) {
    store::BlockRecord named{};
    std::memcpy(&named, at, sizeof named);
    at = named.size >= bytes ? context_.peers().Resolve(named.loc, named.size) : nullptr;
    if (!at) return false;
  } else if (bytes > sizeof record.inline_bytes) {
    return false;
  }
  for (std::uint32_t i = 0; i < record.dependencies; ++i, at += sizeof(store::DependencyRecord)) {
    store::DependencyRecord dependency{};
    std::memcpy(&dependency, at, sizeof dependency);
    detail::Stored stored;
    if (!GatherOne(entry, dependency, incoming, &stored)) return false;
    dependencies->push_back(std::move(stored));
  }
  return true;
}

// The completion of an input that came through the same lane. Both were in the lane at once, so the position is exact; the
// slot's writer is this thread.
const store::Completion* Executor::FindOwn(const Entry& entry, const store::DependencyRecord& dependency) const {
  const store::HomeWord bound = store::HomeWord::Unpack(dependency.bound);
  if (!entry.pair || bound.kind != store::HomeKind::kBound || dependency.client != entry.pair->peer ||
      bound.worker != store::IndexOf(context_.client) || bound.region != entry.pair->region || bound.lane != 0)
    return nullptr;
  const std::uint32_t before = entry.position - bound.position;
  if (before == 0 || before >= limits::kLaneDepth) return nullptr;
  const store::Completion& done = store::CompletionAt(*entry.pair->in, 0, bound.position);
  const bool ran =
      Ring::IsPublished(done, bound.position) && !(done.flags.load(std::memory_order_relaxed) & store::kFlagGivenBack);
  return ran ? &done : nullptr;
}

bool Executor::GatherOne(const Entry& entry, const store::DependencyRecord& dependency, IncomingRoot* incoming,
                         detail::Stored* stored) {
  runtime::ObjectId id{dependency.client, dependency.slot, dependency.generation};
  std::uint32_t element = dependency.element == store::kWholeElement ? detail::kWhole : dependency.element;
  const store::Completion* own = FindOwn(entry, dependency);
  for (std::uint32_t follow = 0;; ++follow) {
    incoming->copies.emplace_back();
    runtime::PayloadCopy& copy = incoming->copies.back();
    Probed probed;
    if (own) {  // copied: the slot may be used again while the task waits for something
      const Ring::Result read = Ring::Copy(*own, copy.data(), static_cast<std::uint32_t>(copy.size()));
      probed = {Probed::kValue, read.flags, read.size, 0, nullptr};
      own = nullptr;
    } else {
      probed = runtime::Probe(context_, id, &copy);
    }
    if (probed.state == Probed::kPending) {
      missing_input_ = probed.bound;
      return false;
    }
    if (probed.state == Probed::kValue) {
      const auto* payload = probed.in_place ? probed.in_place : reinterpret_cast<const std::byte*>(copy.data());
      if (probed.in_place) incoming->copies.pop_back();
      try {
        *stored = runtime::MakeStored(context_, probed.flags, payload, probed.size, Pin::Share(incoming), element);
      } catch (const Error&) {
        stored->pin = {};
      }
      if (stored->pin && (stored->error || follow == dependency.unwrap)) return true;
      if (stored->pin && stored->payload.size() >= 16) {
        std::uint32_t words[4];
        std::memcpy(words, stored->payload.data(), sizeof words);
        id = {words[0], words[1], words[2]};
        element = words[3];
        continue;
      }
    }
    detail::Encoder error;
    detail::EncodeRuntimeError("ObjectLostError", "an input of this task was lost with the process that made it",
                               {"", 1}, error);
    auto* bytes = new std::vector<std::byte>(error.payload().begin(), error.payload().end());
    lost_inputs_.emplace_back(bytes);
    *stored = {{bytes->data(), bytes->size()}, Pin::Share(incoming), detail::kWhole, true};
    return true;
  }
}

// What the run took, as the completion says it; 0: nobody looked.
std::uint32_t Executor::ExecuteTimed(const store::TaskRecord& record, IncomingRoot* incoming,
                                     std::vector<detail::Stored>& dependencies, Outcome* outcome) {
  constexpr std::int64_t kSlowNanos = 4'000;
  Pace& pace = paces_[record.function % paces_.size()];
  if (!pace.slow && (pace.runs++ & 7) != 0) {
    Execute(record, incoming, dependencies, outcome);
    return 0;
  }
  const std::int64_t begin = NowNanos();
  Execute(record, incoming, dependencies, outcome);
  const std::int64_t took = NowNanos() - begin;
  pace.slow = took > kSlowNanos;
  if (outcome->flags & store::kFlagError) return 0;
  return static_cast<std::uint32_t>(std::clamp<std::int64_t>(took / store::kTookNanos, 1, store::kTookMax));
}

void Executor::Execute(const store::TaskRecord& record, IncomingRoot* incoming,
                       std::vector<detail::Stored>& dependencies, Outcome* outcome) {
  if (depth_++ == 0) context_.control()->executing.store(1, std::memory_order_relaxed);
  detail::Encoder result;
  for (const detail::Stored& input : dependencies) {
    if (!input.error) continue;
    result.Raw(input.payload.data(), input.payload.size());
    outcome->flags = store::kFlagError;
    break;
  }
  if (outcome->flags == 0) Call(record, incoming, dependencies, result, outcome);
  StoreOutcome(result, outcome);
  lost_inputs_.clear();
  if (--depth_ == 0) context_.control()->executing.store(0, std::memory_order_relaxed);
}

void Executor::Call(const store::TaskRecord& record, IncomingRoot* incoming, std::vector<detail::Stored>& dependencies,
                    detail::Encoder& result, Outcome* outcome) {
  const auto fail = [&](std::string_view kind, const std::string& message) {
    result.Clear();
    detail::EncodeRuntimeError(kind, message, {detail::DescribeFunction(record.function), record.attempt}, result);
    outcome->flags = store::kFlagError;
  };
  std::span<const std::byte> payload;
  const std::size_t fixed = record.dependencies * sizeof(store::DependencyRecord);
  if (record.flags & store::kTaskArgumentsInBlock) {
    store::BlockRecord named{};
    std::memcpy(&named, record.inline_bytes, sizeof named);
    const std::byte* at = context_.peers().Resolve(named.loc, named.size);
    if (!at || named.size < fixed + record.size) {
      fail("ObjectLostError", "the arguments' memory is gone");
      return;
    }
    payload = {at + fixed, record.size};
  } else {
    if (fixed + record.size > sizeof record.inline_bytes) {
      fail("Error", "the task's record is damaged");
      return;
    }
    payload = {record.inline_bytes + fixed, record.size};
  }
  try {
    detail::Arguments arguments{detail::Decoder(payload, Pin::Share(incoming)), {}};
    arguments.dependencies.swap(dependencies);
    detail::RequireFunction(record.function, record.digest).run(arguments, result);
    arguments.dependencies.swap(dependencies);  // its room is used again
  } catch (...) {
    result.Clear();
    outcome->flags = store::kFlagError;
    detail::EncodeException({detail::DescribeFunction(record.function), record.attempt}, result);
  }
}

// ---- inside Get -------------------------------------------------------------------------------------------------

bool Executor::RunInline(runtime::ObjectRoot* root) {
  runtime::Submitter& submitter = context_.submitter();
  if (!OnThisThread() || !StackLeft()) return false;
  IncomingRoot* incoming = nullptr;
  {
    runtime::Submitter::Lock lock(submitter);
    if (!submitter.TakeForInlineLocked(root)) return false;
    incoming = TakeIncoming();
    if (root->extra) incoming->holds.swap(root->extra->holds);
  }
  Pin keep = Pin::Adopt(incoming);
  const store::TaskRecord& record = submitter.slots().SlotOf(*root).task;
  std::vector<detail::Stored> dependencies;
  Outcome outcome;
  // The record names its dependencies in the order of the holds, after the block of the arguments if there is one.
  const std::size_t first = record.flags & store::kTaskArgumentsInBlock ? 1 : 0;
  const std::byte* at = record.inline_bytes;
  if (first != 0) {
    store::BlockRecord named{};
    std::memcpy(&named, at, sizeof named);
    at = context_.peers().Resolve(named.loc, named.size);
  }
  try {
    for (std::uint32_t i = 0; i < record.dependencies; ++i) {
      store::DependencyRecord dependency{};
      std::memcpy(&dependency, at + i * sizeof dependency, sizeof dependency);
      const bool whole = dependency.element == store::kWholeElement;
      detail::RefCore ref{incoming->holds[first + i], whole ? detail::kWhole : dependency.element};
      detail::Stored stored = runtime::FetchObject(context_, ref, kForever);
      for (std::uint32_t k = 0; k < dependency.unwrap && !stored.error; ++k) {
        detail::Decoder inner(stored.payload, stored.pin);
        ref = inner.TakeRef();
        stored = runtime::FetchObject(context_, ref, kForever);
      }
      dependencies.push_back(std::move(stored));
    }
  } catch (const Error& error) {
    detail::Encoder stored;
    detail::EncodeException({detail::DescribeFunction(record.function), record.attempt}, stored);
    outcome.flags = store::kFlagError;
    StoreOutcome(stored, &outcome);
    runtime::Submitter::Lock lock(submitter);
    submitter.FinishInlineLocked(root, outcome.flags, std::as_bytes(std::span(outcome.payload)).first(outcome.size),
                                 std::move(outcome.holds));
    return true;
  }
  Execute(record, incoming, dependencies, &outcome);
  dependencies.clear();
  {
    runtime::Submitter::Lock lock(submitter);
    submitter.FinishInlineLocked(root, outcome.flags, std::as_bytes(std::span(outcome.payload)).first(outcome.size),
                                 std::move(outcome.holds));
  }
  context_.RingAwaiting();
  return true;
}

bool Executor::WorkWhileWaiting() {
  const std::uint32_t end = pairs_end_.load(std::memory_order_acquire);
  for (std::uint32_t i = 0; i < end; ++i) {
    InPair* pair = pairs_[i].load(std::memory_order_acquire);
    if (!pair || pair->ended || !Matched(*pair)) continue;
    GiveBack(*pair, 1);
    if (pair->gone.load(std::memory_order_acquire)) {
      // Nobody takes lane 0 back any more. The task that waits here may wait for something in it.
      GiveBack(*pair, 0);
    } else if (pair->out->released.load(std::memory_order_acquire) !=
               pair->in->release_read.load(std::memory_order_relaxed)) {
      runtime::Submitter::Lock lock(context_.submitter());
      DrainReleasesLocked(*pair);
    }
  }
  return false;
}

// This thread will not look at its lanes soon. Nothing of them runs on top of a task that waits: it might itself wait for
// that task, which then could never go on. What is queued goes back to its submitter, who knows other workers.
void Executor::GiveBack(InPair& pair, int lane) {
  if (Ring::RecallIsOpen(*pair.out, pair.cursor)) Ring::AcknowledgeRecall(*pair.out, *pair.in, &pair.cursor);
  const std::uint32_t& next = lane == 0 ? pair.cursor.next : pair.urgent_next;
  std::uint32_t slot = 0;
  while (Ring::Peek(store::Entries(*pair.out, lane), store::LaneDepth(lane), next, &slot)) GiveBackHead(pair, lane);
}

void Executor::GiveBackHead(InPair& pair, int lane) {
  const std::uint32_t position = lane == 0 ? pair.cursor.next++ : pair.urgent_next++;
  Ring::Publish(store::CompletionAt(*pair.in, lane, position), position, store::kFlagGivenBack, 0, 0, nullptr);
  RingSubmitter(pair, lane, position);
  context_.RingAwaiting(BoundHere(pair, lane, position));  // if the submitter is dead, nobody will run it
}

}  // namespace sheaf::worker
