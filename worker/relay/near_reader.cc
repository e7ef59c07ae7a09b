// What comes back to a near half: results, values, names that are forgotten, output; and who of its threads reads.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>

#include "base/clock.h"
#include "base/futex.h"
#include "sheaf/error.h"
#include "worker/relay/near_half.h"

namespace sheaf::relay {

using detail::ObjectId;
using detail::Pin;
using detail::RefCore;

namespace {

constexpr std::int64_t kSweepNanos = 20'000'000;
constexpr std::size_t kForgetMax = kTextMax / sizeof(Names::Name);
constexpr std::uint64_t kForeverNanos = 1'000'000'000'000;
constexpr auto kStuck = std::chrono::milliseconds(5);
constexpr std::int64_t kFarewellNanos = 500'000'000;

}  // namespace

std::uint32_t NearHalf::Arrived() {
  std::uint32_t read = 0;
  const std::uint64_t begun = begun_.exchange(0, std::memory_order_acquire);
  if (loop_reads_.load(std::memory_order_relaxed)) {
    const std::unique_lock lock(reading_, std::try_to_lock);
    for (; lock && stream_.Readable(); ++read) ReadFrame();
  }
  if (!unsent_.empty()) SendReadyObjects();
  SendAgain();
  stays_.Sweep();
  const bool gently = gently_asked_.load(std::memory_order_relaxed) && gently_asked_.exchange(false) && stays_.empty();
  // Not before the pool has heard that this half goes on by a credit: it would take the later word for the last one.
  const bool told = begun == 0 && begun_.load(std::memory_order_acquire) == 0;
  if (told && (gently || park_asked_.load(std::memory_order_acquire))) ParkIfIdle();
  Housekeeping(NowNanos());
  if (!out_.empty() && !out_.Flush(stream_)) End("it cannot be written to");
  if (begun != 0) {  // behind the tasks, which it was read in front of
    wire::Begun message{};
    message.grant = begun;
    context_.socket().Send(message, wire::Kind::kBegun);
  }
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

// Somebody can make it again, should this half end before it has come; and nobody waits to read it.
bool NearHalf::MayStay(Name name) {
  if (park_asked_.load(std::memory_order_relaxed) || !stays_.HasNumbers()) return false;
  std::lock_guard turn(turn_);
  const auto found = away_.find(name);
  if (found == away_.end() || !found->second.retries) return false;
  const Away& away = found->second;
  const std::uint64_t want = away.pair->out->want[away.lane].load(std::memory_order_acquire);
  return !(want & store::kWantRead) || static_cast<std::uint32_t>(want) != away.position + 1;
}

bool NearHalf::TakeDone(const Head& head) {
  if (stays_.ComesInStream(head.number)) return TakeDoneAgain(head);
  Done done{};
  if (!stream_.Read(&done, sizeof done)) return false;
  auto value = std::make_shared<detail::Encoder>();
  std::vector<OfferedBlock> offered, staying;
  struct {
    std::optional<bool> may;             // asked at the first block that is offered: most results have none
    std::vector<std::uint32_t> indices;  // of those that are offered, in the form
    NearHalf& half;
    const Name name;
  } stay{{}, {}, *this, head.number};
  std::string why;
  const FormRead read = ReadForm(
      stream_, head.bytes - sizeof done, [&](Name name) { return RefOfName(name, head.number); }, value.get(), &why,
      &offered,
      [&stay](std::uint32_t index, std::uint64_t bytes, bool beside) -> std::optional<NewBlock> {
        if (beside && !stay.may) stay.may = stay.half.MayStay(stay.name);
        if (!beside || !*stay.may) return std::nullopt;
        stay.indices.push_back(index);
        return stay.half.stays_.NewNumber(bytes);
      });
  if (read == FormRead::kHostile) End(why);
  if (read == FormRead::kOver) return false;
  if (read == FormRead::kError && offered.empty()) Answer(Kind::kFetched, head.number);  // whatever it offered
  std::uint64_t bytes = head.bytes;
  for (const OfferedBlock& one : offered) bytes += one.block.size;
  if (stay.may.value_or(false)) staying.swap(offered);
  const bool stays = !staying.empty();
  if (stays) {
    bool known = false;
    stays_.Add(head.number, names_.IdOf(head.number, &known), std::move(staying), stay.indices);
  }
  const auto finish = [this, name = head.number, done, bytes, value, error = read == FormRead::kError, stays] {
    Finish(name, done.took_nanos, bytes, *value, error, stays);
  };
  if (offered.empty()) {
    finish();
  } else {
    Fetch(head.number, FetchClass::kResult, std::move(offered), finish);
  }
  return true;
}

// What could not be fetched: into the room that was made for it.
bool NearHalf::TakeDoneAgain(const Head& head) {
  Done done{};
  if (!stream_.Read(&done, sizeof done)) return false;
  detail::Encoder value;
  std::string why;
  const FormRead read = ReadForm(
      stream_, head.bytes - sizeof done, [&](Name name) { return RefOfName(name, 0); }, &value, &why, nullptr,
      [&](std::uint32_t index, std::uint64_t bytes, bool) { return stays_.Room(head.number, index, bytes); });
  if (read == FormRead::kHostile) End(why);
  if (read == FormRead::kOver) return false;
  const std::span<const std::byte> text = value.payload();
  const std::string_view error{reinterpret_cast<const char*>(text.data()), text.size()};
  // Nobody else has it, and this half answers for it: when it ends, what lay there is made again.
  if (read == FormRead::kError && error.find("OutOfMemoryError") == std::string_view::npos)
    End("a result that lay there is lost");
  if (!stays_.CameInStream(head.number, read == FormRead::kOk)) End("a result came again in another shape");
  return true;
}

// On the reader's thread or the fetcher's.
void NearHalf::Finish(Name name, std::uint64_t took_nanos, std::uint64_t bytes, detail::Encoder& value, bool error,
                      bool stays) {
  if (!stays) names_.Settle(name, bytes);  // what stays keeps its name as well
  Outcome outcome = runtime::StoreHome(context_, value, error ? store::kFlagError : 0);
  if (took_nanos > 0 && !error) {
    const std::uint64_t took = std::clamp<std::uint64_t>(took_nanos / store::kTookNanos, 1, store::kTookMax);
    outcome.flags |= static_cast<std::uint32_t>(took) << store::kTookShift;
  }
  if (stays) outcome.flags |= store::kFlagAway;
  bool wake = false;
  {
    std::lock_guard turn(turn_);
    FinishInTurn(name, took_nanos, error, outcome);
    wake = std::exchange(waits_for_room_, false);
  }
  if (wake) Wake();
}

void NearHalf::FinishInTurn(Name name, std::uint64_t took_nanos, bool error, Outcome& outcome) {
  const auto found = away_.find(name);
  if (found == away_.end()) End("it answered a task that was not asked");
  const Away away = found->second;
  away_.erase(found);
  moves_ = true;
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
  std::lock_guard turn(turn_);
  offered_again_.erase(name);
}

bool NearHalf::TakeValue(const Head& head) {
  auto value = std::make_shared<detail::Encoder>();
  std::vector<OfferedBlock> offered;
  std::string why;
  const FormRead read =
      ReadForm(stream_, head.bytes, [&](Name name) { return RefOfName(name, 0); }, value.get(), &why, &offered);
  if (read == FormRead::kHostile) End(why);
  if (read == FormRead::kOver) return false;
  if (read == FormRead::kError && offered.empty()) Answer(Kind::kFetched, head.number);
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
    case Kind::kRenewed:  // without a credit tasks went along with the ticket
      if (!CreditTaken(head.number)) End("it answered a credit that it was not shown");
      break;
    case Kind::kStays:
      CreditRefused(head.number);
      break;
    case Kind::kWaiting: {
      bool wake = false;
      {
        std::lock_guard turn(turn_);
        waiting_ = static_cast<std::uint32_t>(std::min<std::uint64_t>(head.number, limits::kPairsMax));
        wake = std::exchange(waits_for_room_, false);
      }
      if (wake) Wake();
      break;
    }
    case Kind::kFetched:
      TakeFetched(head.number);
      break;
    case Kind::kAgain: {
      std::lock_guard turn(turn_);
      again_.push_back(head.number);
      context_.RingAwaiting();
      break;
    }
    case Kind::kAllSaid:
      if (std::uint32_t said = 1; !farewell_.compare_exchange_strong(said, 2))
        End("an answer to a farewell that it was not said");
      FutexWakeAll(farewell_);
      break;
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

// It begins nothing more: what lies in its lanes is for others.
void NearHalf::Farewell() {
  Rest();
  context_.control()->blocked.fetch_add(1, std::memory_order_release);
  WorkWhileWaiting();
  context_.RingAwaiting();
  farewell_.store(1, std::memory_order_release);
  Outgoing out;
  out.Bare(Kind::kLast, 0);
  if (!out.Flush(stream_)) return;
  const FutexWord word{&farewell_, 1};
  for (const std::int64_t until = NowNanos() + kFarewellNanos; NowNanos() < until && farewell_.load() == 1;
       WorkWhileWaiting())
    FutexWaitAny({&word, 1}, kStuck);
}

// The reader's turn.
void NearHalf::Rest() {
  if (loop_reads_.exchange(0)) FutexWakeAll(loop_reads_);
}

}  // namespace sheaf::relay
