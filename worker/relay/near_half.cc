#include "worker/relay/near_half.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "base/barrier.h"
#include "base/clock.h"
#include "base/futex.h"
#include "sheaf/error.h"

namespace sheaf::relay {

using detail::ObjectId;
using detail::Pin;
using detail::RefCore;
using runtime::IncomingRoot;
using runtime::Probed;

namespace {

constexpr std::size_t kAwayMax = 4096;
constexpr std::int64_t kAheadNanos = 2'000'000;  // of work for each place there
constexpr std::size_t kFewAway = 2;
constexpr std::int64_t kInputPatienceNanos = 5'000'000, kInputPatienceMaxNanos = 640'000'000;
constexpr std::int64_t kSilentNanos = 1'000'000'000;

}  // namespace

NearHalf::NearHalf(runtime::Context& context, Stream& stream, const Host& host, std::uint32_t cpus_milli,
                   std::uint32_t places, TransferDesk& desk, std::string pki)
    : Executor(context, true),
      stream_(stream),
      machine_(host.name),
      pool_(host.pool),
      cpus_milli_(cpus_milli),
      places_(std::max(places, 1u)),
      names_(true, std::min(host.store_bytes, context.budget_bytes)),
      offers_(context, desk),
      fetcher_(context, desk, std::move(pki)),
      stays_(context, fetcher_, host.store_bytes / 4,
             {.fetch_again = [this](Name name) { Answer(Kind::kAgain, name); },
              .let_go =
                  [this](Name name, std::uint64_t bytes) {
                    names_.Settle(name, bytes);
                    Answer(Kind::kFetched, name);
                  },
              .arrived =
                  [this](const ObjectId& id) {
                    wire::Arrived arrived{};
                    arrived.submitter = id.client;
                    arrived.slot = id.slot;
                    arrived.generation = id.generation;
                    context_.socket().Send(arrived, wire::Kind::kArrived);
                  }}) {}

// Everything that others were told stays as it is: the pool keeps the memory.
void NearHalf::End(const std::string& why) {
  if (farewell_.load(std::memory_order_acquire) != 0) _exit(0);  // nothing of it was wanted any more
  if (!why.empty())
    std::fprintf(stderr, "sheaf: the connection to pool %s has ended, and its tasks run elsewhere: %s\n", pool_.c_str(),
                 why.c_str());
  std::fflush(nullptr);
  _exit(kExitStreamOver);
}

// ---- claim and send ---------------------------------------------------------------------------------------------

bool NearHalf::LookAtInput(const store::DependencyRecord& named, IncomingRoot* incoming, Input* input) {
  input->id = {named.client, named.slot, named.generation};
  input->name = names_.Find(input->id, NowNanos());
  input->as = {input->name, named.element, named.unwrap, 0};
  // A name whose value is still to come is no more than a wait over there, which may keep its own producer from being sent.
  if (input->name != 0) return !unsent_names_.contains(input->name);
  incoming->copies.emplace_back();
  runtime::PayloadCopy& copy = incoming->copies.back();
  const Probed probed = runtime::Probe(context_, input->id, &copy);
  if (probed.state == Probed::kPending) return false;
  if (probed.state == Probed::kValue) {
    const auto* payload = probed.in_place ? probed.in_place : reinterpret_cast<const std::byte*>(copy.data());
    try {
      input->value =
          runtime::MakeStored(context_, probed.flags, payload, probed.size, Pin::Share(incoming), detail::kWhole);
      return LookForBlocks(context_, input->value, &offers_) == Blocks::kReady;
    } catch (const Error&) {
    }
  }
  input->value = {};  // lost: sent as the error that says so
  return true;
}

NearHalf::Look NearHalf::LookAtInputs(const Task& task, IncomingRoot* incoming, std::vector<Input>* inputs,
                                      detail::Stored* arguments) {
  const store::TaskRecord& record = task.slot->task;
  const std::size_t fixed = record.dependencies * sizeof(store::DependencyRecord);
  const std::byte* at = record.inline_bytes;
  std::uint64_t total = std::uint64_t{fixed} + record.size + (record.flags >> store::kTaskMarksShift);
  if (record.flags & store::kTaskArgumentsInBlock) {
    store::BlockRecord named{};
    std::memcpy(&named, at, sizeof named);
    at = named.size >= fixed + record.size ? context_.peers().Resolve(named.loc, named.size) : nullptr;
    if (!at) return Look::kDamaged;
    total = named.size;
  } else if (total > sizeof record.inline_bytes) {
    return Look::kDamaged;
  }
  for (std::uint32_t i = 0; i < record.dependencies; ++i) {
    store::DependencyRecord named{};
    std::memcpy(&named, at + i * sizeof named, sizeof named);
    inputs->emplace_back();
    if (!LookAtInput(named, incoming, &inputs->back())) return Look::kWaits;
  }
  arguments->payload = {at + fixed, record.size};
  arguments->pin = Pin::Share(incoming);
  if (record.flags & store::kTaskMarked) {
    arguments->payload = {at + fixed, total - fixed};
    if (!detail::SplitMarks(&arguments->payload, &arguments->marks)) return Look::kDamaged;
  }
  return Look::kReady;
}

void NearHalf::Drop(IncomingRoot* incoming) {
  inputs_.clear();
  incoming->copies.clear();
  spare_incoming_.push_back(incoming);
}

// What lies there comes home first: nobody else keeps it.
bool NearHalf::MayEnd() {
  {
    std::lock_guard turn(turn_);
    if (!away_.empty() || !unsent_.empty()) return false;
  }
  if (job_over_.load(std::memory_order_acquire) || stays_.empty()) return true;
  stays_.FetchAll();
  return stays_.no_room_for_long();  // the rest is made again, if anybody wants it
}

// Without a grant, what waits in the lanes and could begin is what the pool asks for another by. What waits for inputs needs none: whoever
// makes them may need it.
bool NearHalf::MayForward() {
  if (!parked_.load(std::memory_order_acquire)) return true;  // it was renewed a moment ago
  if (std::exchange(asked_, true)) return false;
  AskOrBegin();
  return !parked_.load(std::memory_order_acquire);
}

// What is urgent may be what all that are there wait for: another one, for each second in which nothing has ended.
bool NearHalf::HasRoom(const Task& task) {
  if (away_.size() < places_ + waiting_) return true;
  if (away_.size() >= kAwayMax) return false;
  const auto cost = costs_.find(task.slot->task.function);
  if (cost != costs_.end() && load_ + cost->second <= kAheadNanos * std::int64_t{places_}) return true;
  if (task.lane != 1) return false;
  const std::int64_t now = NowNanos();
  if (std::exchange(moves_, false)) silent_since_ = now;
  return away_.size() < places_ + waiting_ + static_cast<std::uint64_t>((now - silent_since_) / kSilentNanos);
}

// turn_ held.
bool NearHalf::HasInputs(const Task& task) {
  IncomingRoot* incoming = TakeIncoming();
  const Look look = [&] {
    detail::Stored arguments;
    return LookAtInputs(task, incoming, &inputs_, &arguments);
  }();
  Drop(incoming);
  return look != Look::kWaits;
}

bool NearHalf::CanForward(const Task& task) {
  if (parked_.load(std::memory_order_acquire)) {
    {
      std::lock_guard turn(turn_);
      if (!HasInputs(task)) return false;
    }
    if (!MayForward()) return false;
  }
  std::lock_guard turn(turn_);
  if (!HasRoom(task)) {
    waits_for_room_ = true;
    return false;
  }
  return HasInputs(task);
}

bool NearHalf::Forward(const Task& task) {
  if (parked_.load(std::memory_order_acquire)) {
    {
      std::lock_guard turn(turn_);
      if (!HasInputs(task)) return GivesBack(task);
    }
    if (!MayForward()) return false;
  }
  bool took = false;
  {
    std::lock_guard turn(turn_);
    took = ForwardInTurn(task);
  }
  if (out_.large() && !out_.Flush(stream_)) End("it cannot be written to");
  return took;
}

// An urgent lane takes what has its inputs. This one had: they lay on a machine that is gone, and what makes them again may stand behind
// it. Not at once, and after a while more rarely: whoever submitted it may not know yet, and would push it here again, which costs places.
bool NearHalf::GivesBack(const Task& task) {
  if (task.lane != 1) return false;
  worker::InPair& pair = *task.pair;
  const std::uint32_t depth = store::LaneDepth(1), passed = pair.urgent_passed - task.position;
  if (passed == 0 || passed > depth) {  // it came after the last time
    const std::int64_t now = NowNanos();
    if (pair.urgent_waits == 0) pair.urgent_waits = now;
    std::uint32_t end = task.position + 1, slot = 0;
    while (Ring::Peek(store::Entries(*pair.out, 1), depth, end, &slot)) ++end;
    const std::int64_t patience = std::max(pair.urgent_patience, kInputPatienceNanos);
    if (end == task.position + 1 || now - pair.urgent_waits < patience) return false;
    pair.urgent_passed = end;
    pair.urgent_patience = std::min(2 * patience, kInputPatienceMaxNanos);
    pair.urgent_waits = 0;
  }
  GiveBackHead(pair, 1);
  return true;
}

bool NearHalf::ForwardInTurn(const Task& task) {
  if (!HasRoom(task)) return false;
  worker::InPair& pair = *task.pair;
  const store::TaskRecord& record = task.slot->task;
  IncomingRoot* incoming = TakeIncoming();
  incoming->submitter = pair.peer;
  incoming->region = pair.region;
  incoming->slot = task.slot_index;
  detail::Stored arguments;
  inputs_.clear();
  const Look look = LookAtInputs(task, incoming, &inputs_, &arguments);
  if (look == Look::kWaits) {
    arguments = {};
    Drop(incoming);
    return GivesBack(task);
  }
  if (task.lane == 1) pair.urgent_waits = pair.urgent_patience = 0;
  if (!ClaimNext(task)) {
    arguments = {};
    Drop(incoming);
    return true;
  }
  if (look == Look::kDamaged) {
    arguments = {};
    inputs_.clear();
    detail::Encoder error;
    detail::EncodeRuntimeError("ObjectLostError", "the task's record or its arguments' memory could not be read",
                               {"", record.attempt}, error);
    Outcome outcome = runtime::StoreHome(context_, error, store::kFlagError);
    Seal(pair, task.lane, task.position, incoming, outcome);
    return true;
  }
  const std::int64_t now = NowNanos();
  const auto name_ref = [this](const RefCore& ref) { return NameRefOf(ref); };
  for (Input& input : inputs_) {
    if (input.name == 0) input.name = names_.Find(input.id, now);  // the same object twice
    if (input.name == 0) {
      input.name = names_.BindNext(input.id, {}, now);
      out_.Begin(Kind::kValue, input.name);
      std::uint64_t bytes = 0;
      if (input.value.pin) {
        bytes = WriteForm(context_, input.value, name_ref, &out_, &offers_);
      } else {
        WriteErrorForm("ObjectLostError", "an input of this task was lost with the process that made it", &out_);
      }
      out_.End();
      if (!offers_.Keep(input.name, input.value, bytes)) names_.Settle(input.name, bytes);
    }
    input.as.name = input.name;
  }
  const ObjectId id{pair.peer, task.slot_index, task.slot->home.generation.load(std::memory_order_relaxed)};
  const Name name = names_.BindNext(id, {}, now, true);
  const auto known = costs_.find(record.function);
  const std::int64_t cost = known == costs_.end() ? kAheadNanos : known->second;
  away_[name] = {&pair, task.lane, task.position, incoming, record.function, cost, record.retries > 0};
  load_ += cost;
  pair.away.fetch_add(1, std::memory_order_relaxed);
  loop_reads_.store(away_.size() <= kFewAway ? 1 : 0, std::memory_order_relaxed);
  if (away_.size() == kFewAway + 1) FutexWakeAll(loop_reads_);
  out_.Begin(Kind::kPush, name);
  const Push push{record.function,
                  static_cast<std::uint32_t>(inputs_.size()),
                  record.digest,
                  record.attempt,
                  record.retries,
                  cpus_milli_,
                  0};
  out_.Raw(&push, sizeof push);
  for (const Input& input : inputs_) out_.Raw(&input.as, sizeof input.as);
  WriteForm(context_, arguments, name_ref, &out_);
  out_.End();
  inputs_.clear();
  return true;
}

void NearHalf::ForwardStart(const wire::StartCall& call, const detail::Stored& arguments) {
  const Start start{call.function, 0, call.digest};
  out_.Begin(Kind::kStart, 0);
  out_.Raw(&start, sizeof start);
  WriteForm(context_, arguments, [this](const RefCore& ref) { return NameRefOf(ref); }, &out_);
  out_.End();
  if (!out_.Flush(stream_)) End("it cannot be written to");
}

// Of an object that a value speaks of. Its own value follows when it is there.
Names::Name NearHalf::NameRefOf(const RefCore& ref) {
  const ObjectId id = runtime::IdOf(context_, *ref.pin.get());
  const std::int64_t now = NowNanos();
  if (const Name name = names_.Find(id, now)) return name;
  RefCore whole{ref.pin, detail::kWhole};
  const Name name = names_.BindNext(id, whole, now);
  unsent_.emplace_back(name, std::move(whole));
  unsent_names_.insert(name);
  return name;
}

void NearHalf::SendReadyObjects() {
  std::vector<std::pair<Name, RefCore>> waiting;
  waiting.swap(unsent_);
  for (auto& [name, ref] : waiting) {
    if (!runtime::ObjectIsReady(context_, ref)) {
      unsent_.emplace_back(name, std::move(ref));
      continue;
    }
    detail::Stored value;
    std::string lost;
    try {
      value = runtime::FetchObject(context_, ref, kForever);
      if (LookForBlocks(context_, value, &offers_) != Blocks::kReady) {
        unsent_.emplace_back(name, std::move(ref));
        continue;
      }
    } catch (const Error& error) {
      lost = error.what();
    }
    unsent_names_.erase(name);
    out_.Begin(Kind::kValue, name);
    std::uint64_t bytes = 0;
    if (lost.empty()) {
      bytes = WriteForm(context_, value, [this](const RefCore& inner) { return NameRefOf(inner); }, &out_, &offers_);
    } else {
      WriteErrorForm("ObjectLostError", lost, &out_);
    }
    out_.End();
    if (!offers_.Keep(name, std::move(value), bytes)) names_.Settle(name, bytes);
  }
}

// What the other half could not fetch. Its blocks may lie on a third machine: then they come here first.
void NearHalf::SendAgain() {
  std::vector<Name> names;
  {
    std::lock_guard turn(turn_);
    names.swap(again_);
  }
  for (const Name name : names) {
    auto kept = offers_.Take(name);
    if (!kept) End("it asks again for what it was not offered");
    late_.emplace_back(name, std::move(*kept));
  }
  std::erase_if(late_, [this](auto& late) {
    auto& [name, kept] = late;
    if (LookForBlocks(context_, kept.value, nullptr) != Blocks::kReady) return false;
    // Whoever offered it may have taken the offer back, as it came here meanwhile: offered anew, once.
    const bool first = offered_again_.insert(name).second;
    out_.Begin(Kind::kValue, name);
    const auto name_ref = [this](const RefCore& inner) { return NameRefOf(inner); };
    WriteForm(context_, kept.value, name_ref, &out_, first ? &offers_ : nullptr);
    out_.End();
    if (first && offers_.Keep(name, std::move(kept.value), kept.bytes)) return true;
    offered_again_.erase(name);
    names_.Settle(name, kept.bytes);
    return true;
  });
}

}  // namespace sheaf::relay
