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
constexpr std::uint64_t kForeverNanos = 1'000'000'000'000;
constexpr std::int64_t kSweepNanos = 20'000'000;
constexpr std::size_t kFewAway = 2;
constexpr auto kStuck = std::chrono::milliseconds(5);
constexpr std::size_t kForgetMax = kTextMax / sizeof(Names::Name);

}  // namespace

NearHalf::NearHalf(runtime::Context& context, Stream& stream, std::string machine, std::uint32_t cpus_milli,
                   std::uint32_t places, TransferDesk& desk, std::string pki)
    : Executor(context, true),
      stream_(stream),
      machine_(std::move(machine)),
      cpus_milli_(cpus_milli),
      places_(std::max(places, 1u)),
      offers_(context, desk),
      fetcher_(context, desk, std::move(pki)) {}

// Everything that others were told stays as it is: the pool keeps the memory.
void NearHalf::End(const std::string& why) {
  if (!why.empty()) std::fprintf(stderr, "sheaf: the connection to %s has ended: %s\n", machine_.c_str(), why.c_str());
  std::fflush(nullptr);
  _exit(kExitStreamOver);
}

// ---- claim and send ---------------------------------------------------------------------------------------------

bool NearHalf::LookAtInput(const store::DependencyRecord& named, IncomingRoot* incoming, Input* input) {
  input->id = {named.client, named.slot, named.generation};
  input->name = names_.Find(input->id, NowNanos());
  input->as = {input->name, named.element, named.unwrap, 0};
  if (input->name != 0) return true;
  incoming->copies.emplace_back();
  runtime::PayloadCopy& copy = incoming->copies.back();
  const Probed probed = runtime::Probe(context_, input->id, &copy);
  if (probed.state == Probed::kPending) return false;
  if (probed.state == Probed::kValue) {
    const auto* payload = probed.in_place ? probed.in_place : reinterpret_cast<const std::byte*>(copy.data());
    try {
      input->value =
          runtime::MakeStored(context_, probed.flags, payload, probed.size, Pin::Share(incoming), detail::kWhole);
      return true;
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

bool NearHalf::MayEnd() {
  std::lock_guard turn(turn_);
  return away_.empty() && unsent_.empty();
}

// Without a grant what waits in the lanes is what the pool asks for another by.
bool NearHalf::MayForward() {
  if (!parked_.load(std::memory_order_acquire)) return true;
  if (!std::exchange(asked_, true)) context_.socket().Send(wire::Bare{}, wire::Kind::kAsks);
  return false;
}

bool NearHalf::HasRoom(std::uint32_t function) const {
  if (away_.size() < places_) return true;
  if (away_.size() >= kAwayMax) return false;
  const auto cost = costs_.find(function);
  return cost != costs_.end() && load_ + cost->second <= kAheadNanos * std::int64_t{places_};
}

bool NearHalf::CanForward(const Task& task) {
  if (!MayForward()) return false;
  std::lock_guard turn(turn_);
  if (!HasRoom(task.slot->task.function)) return false;
  IncomingRoot* incoming = TakeIncoming();
  const Look look = [&] {
    detail::Stored arguments;
    return LookAtInputs(task, incoming, &inputs_, &arguments);
  }();
  Drop(incoming);
  return look != Look::kWaits;
}

bool NearHalf::Forward(const Task& task) {
  if (!MayForward()) return false;
  bool took = false;
  {
    std::lock_guard turn(turn_);
    took = ForwardInTurn(task);
  }
  if (out_.large() && !out_.Flush(stream_)) End("it cannot be written to");
  return took;
}

bool NearHalf::ForwardInTurn(const Task& task) {
  if (!HasRoom(task.slot->task.function)) return false;
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
    return false;
  }
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
  const Name name = names_.BindNext(id, {}, now);
  const auto known = costs_.find(record.function);
  const std::int64_t cost = known == costs_.end() ? kAheadNanos : known->second;
  away_[name] = {&pair, task.lane, task.position, incoming, record.function, cost};
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
    out_.Begin(Kind::kValue, name);
    std::uint64_t bytes = 0;
    detail::Stored value;
    try {
      value = runtime::FetchObject(context_, ref, kForever);
      bytes = WriteForm(context_, value, [this](const RefCore& inner) { return NameRefOf(inner); }, &out_, &offers_);
    } catch (const Error& error) {
      WriteErrorForm("ObjectLostError", error.what(), &out_);
    }
    out_.End();
    if (!offers_.Keep(name, std::move(value), bytes)) names_.Settle(name, bytes);
  }
}

// What the other half could not fetch.
void NearHalf::SendAgain() {
  std::vector<Name> names;
  {
    std::lock_guard turn(turn_);
    names.swap(again_);
  }
  for (const Name name : names) {
    const auto kept = offers_.Take(name);
    if (!kept) continue;
    out_.Begin(Kind::kValue, name);
    WriteForm(context_, kept->value, [this](const RefCore& inner) { return NameRefOf(inner); }, &out_);
    out_.End();
    names_.Settle(name, kept->bytes);
  }
}

// ---- parked -----------------------------------------------------------------------------------------------------

void NearHalf::Wake() {
  runtime::Submitter::Lock lock(context_.submitter());
  context_.submitter().RingLocked();
}

void NearHalf::Park() {
  park_asked_.store(true, std::memory_order_release);
  Wake();
}

// The pool asks again, later, if something is away.
void NearHalf::ParkIfIdle() {
  park_asked_.store(false, std::memory_order_relaxed);
  if (parked_.load(std::memory_order_relaxed) || !MayEnd() || !offers_.empty()) return;
  asked_ = false;
  parked_.store(true, std::memory_order_release);
  out_.Bare(Kind::kPark, 0);
  if (!out_.Flush(stream_)) End("it cannot be written to");
  context_.socket().Send(wire::Bare{}, wire::Kind::kParked);
}

void NearHalf::Renew(std::string ticket) {
  Outgoing out;
  out.Begin(Kind::kRenew, 0);
  out.Raw(ticket.data(), ticket.size());
  out.End();
  if (!out.Flush(stream_)) End("it cannot be written to");
}

// ---- results ----------------------------------------------------------------------------------------------------

std::uint32_t NearHalf::Arrived() {
  std::uint32_t read = 0;
  if (loop_reads_.load(std::memory_order_relaxed)) {
    const std::unique_lock lock(reading_, std::try_to_lock);
    for (; lock && stream_.Readable(); ++read) ReadFrame();
  }
  if (!unsent_.empty()) SendReadyObjects();
  SendAgain();
  if (park_asked_.load(std::memory_order_acquire)) ParkIfIdle();
  Housekeeping(NowNanos());
  if (!out_.empty() && !out_.Flush(stream_)) End("it cannot be written to");
  return read;
}

void NearHalf::Housekeeping(std::int64_t now) {
  if (now - swept_ > kSweepNanos) {
    swept_ = now;
    const std::vector<Name> over = names_.Forget(now, kForgetMax);
    if (!over.empty()) {
      out_.Begin(Kind::kForget, 0);
      out_.Raw(over.data(), over.size() * sizeof over[0]);
      out_.End();
    }
  }
  if (out_.empty() && now - stream_.last_write() > kPingNanos) out_.Bare(Kind::kPing, 0);
}

// ---- the reader -------------------------------------------------------------------------------------------------

RefCore NearHalf::RefOfName(Name name, Name of_task) {
  bool known = false;
  RefCore ref = names_.RefOf(name, &known);
  if (ref.pin) return ref;
  if (!known) {  // an object of the other half, spoken of for the first time
    if (!(name & kFarNames)) return {};
    ref = context_.submitter().Promise();
    if (!names_.Bind(name, runtime::IdOf(context_, *ref.pin.get()), ref, true, NowNanos())) return {};
    return ref;
  }
  // An input of the task, or the result of an earlier one: the task's arguments keep it until its result is sealed.
  const ObjectId id = names_.IdOf(name, &known);
  Pin through;
  {
    std::lock_guard turn(turn_);
    const auto found = away_.find(of_task);
    if (found != away_.end()) through = Pin::Share(found->second.incoming);
  }
  const std::uint32_t words[4] = {id.client, id.slot, id.generation, detail::kWhole};
  detail::Decoder decoder(std::as_bytes(std::span(words)), std::move(through));
  try {
    return decoder.TakeRef();
  } catch (const Error&) {
    return {};
  }
}

bool NearHalf::TakeDone(const Head& head) {
  Done done{};
  if (!stream_.Read(&done, sizeof done)) return false;
  auto value = std::make_shared<detail::Encoder>();
  std::vector<OfferedBlock> offered;
  std::string why;
  const FormRead read = ReadForm(
      stream_, head.bytes - sizeof done, [&](Name name) { return RefOfName(name, head.number); }, value.get(), &why,
      &offered);
  if (read == FormRead::kHostile) End(why);
  if (read == FormRead::kOver) return false;
  if (read == FormRead::kError) Answer(Kind::kFetched, head.number);  // whatever it offered
  std::uint64_t bytes = head.bytes;
  for (const OfferedBlock& one : offered) bytes += one.block.size;
  const auto finish = [this, name = head.number, done, bytes, value, error = read == FormRead::kError] {
    Finish(name, done.took_nanos, bytes, *value, error);
  };
  if (offered.empty()) {
    finish();
  } else {
    Fetch(head.number, FetchClass::kResult, std::move(offered), finish);
  }
  return true;
}

// On the reader's thread or the fetcher's.
void NearHalf::Finish(Name name, std::uint64_t took_nanos, std::uint64_t bytes, detail::Encoder& value, bool error) {
  Outcome outcome = runtime::StoreHome(context_, value, error ? store::kFlagError : 0);
  if (took_nanos > 0 && !error) {
    const std::uint64_t took = std::clamp<std::uint64_t>(took_nanos / store::kTookNanos, 1, store::kTookMax);
    outcome.flags |= static_cast<std::uint32_t>(took) << store::kTookShift;
  }
  std::lock_guard turn(turn_);
  names_.Settle(name, bytes);
  const auto found = away_.find(name);
  if (found == away_.end()) End("it answered a task that was not asked");
  const Away away = found->second;
  away_.erase(found);
  load_ -= away.cost;
  if (took_nanos > 0 && !error)
    costs_[away.function] = static_cast<std::int64_t>(std::min<std::uint64_t>(took_nanos, kForeverNanos));
  Seal(*away.pair, away.lane, away.position, away.incoming, outcome);
  away.pair->away.fetch_sub(1, std::memory_order_release);
}

void NearHalf::Answer(Kind kind, Name name) {
  Outgoing out;
  out.Bare(kind, name);
  if (!out.Flush(stream_)) End("it cannot be written to");
}

void NearHalf::Fetch(Name name, FetchClass wanted, std::vector<OfferedBlock> blocks, std::function<void()> then) {
  fetcher_.Add(name, wanted, std::move(blocks), false, [this, name, then](bool ok, const std::string& why) {
    if (!ok) std::fprintf(stderr, "sheaf: a transfer from %s failed: %s\n", machine_.c_str(), why.c_str());
    if (ok) then();
    Answer(ok ? Kind::kFetched : Kind::kAgain, name);
  });
}

void NearHalf::TakeFetched(Name name) {
  if (const auto kept = offers_.Take(name)) names_.Settle(name, kept->bytes);
}

bool NearHalf::TakeValue(const Head& head) {
  auto value = std::make_shared<detail::Encoder>();
  std::vector<OfferedBlock> offered;
  std::string why;
  const FormRead read =
      ReadForm(stream_, head.bytes, [&](Name name) { return RefOfName(name, 0); }, value.get(), &why, &offered);
  if (read == FormRead::kHostile) End(why);
  if (read == FormRead::kOver) return false;
  if (read == FormRead::kError) Answer(Kind::kFetched, head.number);
  std::uint64_t bytes = head.bytes;
  for (const OfferedBlock& one : offered) bytes += one.block.size;
  const auto keep = [this, name = head.number, bytes, value, error = read == FormRead::kError] {
    Keep(name, bytes, *value, error);
  };
  if (offered.empty()) {
    keep();
  } else {
    Fetch(head.number, FetchClass::kPrefetch, std::move(offered), keep);
  }
  return true;
}

void NearHalf::Keep(Name name, std::uint64_t bytes, detail::Encoder& value, bool error) {
  RefCore promised;
  if (!names_.TakePromise(name, &promised)) return;
  runtime::HomeValue home = runtime::StoreHome(context_, value, error ? store::kFlagError : 0);
  context_.submitter().KeepPromise(static_cast<runtime::ObjectRoot*>(promised.pin.get()), home.flags,
                                   std::as_bytes(std::span(home.payload)).first(home.size), std::move(home.holds));
  names_.Settle(name, bytes);
  context_.RingAwaiting();
}

bool NearHalf::TakeForgotten(const Head& head) {
  std::vector<Name> names(head.bytes / sizeof(Name));
  if (!stream_.Read(names.data(), head.bytes / sizeof(Name) * sizeof(Name))) return false;
  for (const Name name : names) names_.Erase(name);
  return stream_.Skip(head.bytes % sizeof(Name));
}

// Lines of the other machine's workers, each with its name in front.
bool NearHalf::TakeOutput(const Head& head) {
  std::string text(head.bytes, '\0');
  if (!stream_.Read(text.data(), text.size())) return false;
  std::string lines;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    lines += "(" + machine_ + ") " + text.substr(at, end - at) + "\n";
    at = end + 1;
  }
  const int to = head.number == 2 ? STDERR_FILENO : STDOUT_FILENO;
  for (std::size_t at = 0; at < lines.size();) {
    const ssize_t written = write(to, lines.data() + at, lines.size() - at);
    if (written <= 0) break;
    at += static_cast<std::size_t>(written);
  }
  return true;
}

void NearHalf::ReadFrame() {
  Head head{};
  if (!stream_.Read(&head, sizeof head)) End("it is closed, or was silent for two seconds");
  if (const std::string why = CheckHead(head, false); !why.empty()) End(why);
  bool ok = true;
  switch (head.kind) {
    case Kind::kDone:
      ok = TakeDone(head);
      break;
    case Kind::kValue:
      ok = TakeValue(head);
      break;
    case Kind::kForgotten:
      ok = TakeForgotten(head);
      break;
    case Kind::kOutput:
      ok = TakeOutput(head);
      break;
    case Kind::kRefused: {
      std::string text(head.bytes, '\0');
      if (!stream_.Read(text.data(), text.size())) text = "it refused";
      End(text);
    }
    case Kind::kRenewed:
      parked_.store(false, std::memory_order_release);
      Wake();
      break;
    case Kind::kFetched:
      TakeFetched(head.number);
      break;
    case Kind::kAgain: {
      std::lock_guard turn(turn_);
      again_.push_back(head.number);
      context_.RingAwaiting();
      break;
    }
    case Kind::kPing:
      break;
    default:
      End("a frame out of its turn");
  }
  if (!ok) End("it was cut off within a frame");
}

void NearHalf::ReadLoop() {
  for (;;) {
    // The loop may be stuck in a write, and the other half in its own, until somebody reads.
    const FutexWord word{&loop_reads_, 1};
    if (loop_reads_.load(std::memory_order_relaxed)) FutexWaitAny({&word, 1}, kStuck);
    {
      std::lock_guard lock(reading_);
      while (stream_.Readable()) ReadFrame();
    }
    if (!stream_.Await()) End("it was silent for two seconds");
  }
}

// The reader's turn.
void NearHalf::Rest() {
  if (loop_reads_.exchange(0)) FutexWakeAll(loop_reads_);
}

}  // namespace sheaf::relay
