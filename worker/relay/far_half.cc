#include "worker/relay/far_half.h"

#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <utility>

#include "base/barrier.h"
#include "base/clock.h"
#include "runtime/getter.h"
#include "runtime/home_value.h"
#include "runtime/no_room.h"
#include "sheaf/error.h"

namespace sheaf::relay {

using detail::RefCore;
using runtime::ObjectRoot;
using runtime::Submitter;

namespace {

constexpr std::int64_t kColdMomentNanos = 400'000;  // the workers sleep, and so does everybody else here
constexpr std::int64_t kMomentNanos = 30'000, kAwaitNanos = 150'000;

}  // namespace

FarHalf::FarHalf(runtime::Context& context, Stream& stream, TransferDesk& desk, std::string pki, std::string peer,
                 std::string needs, TwinPlace& place)
    : context_(context),
      stream_(stream),
      peer_(std::move(peer)),
      needs_(std::move(needs)),
      place_(place),
      names_(false, context.budget_bytes),
      offers_(context, desk),
      fetcher_(context, desk, std::move(pki)),
      last_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  context_.submitter().stay_here = true;
  context_.submitter().place = runtime::MachineName();
}

void FarHalf::End(const std::string& why) {
  if (!why.empty()) std::fprintf(stderr, "sheaf: a relay has ended: %s\n", why.c_str());
  std::fflush(nullptr);
  place_.Remove();
  _exit(why.empty() ? 0 : 72);
}

// ---- the reader -------------------------------------------------------------------------------------------------

RefCore FarHalf::RefOfName(Name name) {
  bool known = false;
  RefCore ref = names_.RefOf(name, &known);
  if (known || (name & kFarNames)) return ref;
  ref = context_.submitter().Promise();
  if (!names_.Bind(name, runtime::IdOf(context_, *ref.pin.get()), ref, true, NowNanos())) return {};
  return ref;
}

void FarHalf::Await(Name name, const RefCore& ref, std::uint32_t function) {
  context_.submitter().AddHook(static_cast<ObjectRoot*>(ref.pin.get()), {[this, name, function] {
                                 std::lock_guard lock(ready_mutex_);
                                 ready_.push_back({name, function, 0});
                                 has_ready_.store(true, std::memory_order_release);
                               }});
}

void FarHalf::Refuse(Name name, std::string_view kind, const std::string& message, std::uint32_t function) {
  std::lock_guard lock(ready_mutex_);
  detail::Encoder error;
  detail::EncodeRuntimeError(kind, message, {detail::DescribeFunction(function), 1}, error);
  const auto payload = error.payload();
  refused_.emplace_back(name, std::string(reinterpret_cast<const char*>(payload.data()), payload.size()));
  has_ready_.store(true, std::memory_order_release);
}

bool FarHalf::TakePush(const Head& head) {
  if (parked_) End("a task without a grant");
  Push push{};
  if (!stream_.Read(&push, sizeof push)) return false;
  const std::uint64_t inputs_bytes = std::uint64_t{push.inputs} * sizeof(PushInput);
  if (push.inputs > kInputsMax || head.bytes < sizeof push + inputs_bytes + sizeof(FormHead))
    End("a task with more inputs than its frame holds");
  std::vector<PushInput> inputs(push.inputs);
  if (!stream_.Read(inputs.data(), inputs_bytes)) return false;
  detail::Encoder arguments;
  std::string why;
  const FormRead read = ReadForm(
      stream_, head.bytes - sizeof push - inputs_bytes, [this](Name name) { return RefOfName(name); }, &arguments,
      &why);
  if (read == FormRead::kHostile) End(why);
  if (read == FormRead::kOver) return false;
  if (read == FormRead::kError) {
    EndIfPoolIsGone("");
    Refuse(head.number, "OutOfMemoryError", runtime::NoRoomFor(context_, "a task's arguments", head.bytes),
           push.function);
    return true;
  }
  for (const PushInput& input : inputs) {
    RefCore ref = RefOfName(input.name);
    if (!ref.pin) End("a task whose input has no name");
    fetcher_.Raise(input.name);
    ref.element = input.element == store::kWholeElement ? detail::kWhole : input.element;
    arguments.Depend(ref, input.unwrap);
  }
  detail::SubmitOptions options;
  options.cpus = std::max<std::uint32_t>(push.cpus_milli, 1) / 1000.0;
  options.retries = static_cast<int>(std::min<std::uint32_t>(push.retries, 32767));
  options.needs = needs_;
  options.attempt = static_cast<int>(std::clamp<std::uint32_t>(push.attempt, 1, 65535));
  try {
    const RefCore ref = context_.submitter().Submit(push.function, push.digest, arguments, options);
    if (!names_.Bind(head.number, runtime::IdOf(context_, *ref.pin.get()), ref, false, NowNanos()))
      End("a task with a name out of all order");
    Await(head.number, ref, push.function);
  } catch (const Error& error) {
    Refuse(head.number, "OutOfMemoryError", error.what(), push.function);
  }
  return true;
}

bool FarHalf::TakeValue(const Head& head) {
  RefOfName(head.number);  // perhaps the first that is heard of it
  auto value = std::make_shared<detail::Encoder>();
  std::vector<OfferedBlock> offered;
  std::string why;
  const FormRead read =
      ReadForm(stream_, head.bytes, [this](Name name) { return RefOfName(name); }, value.get(), &why, &offered);
  if (read == FormRead::kHostile) End(why);
  if (read == FormRead::kOver) return false;
  if (offered.empty()) {
    if (read == FormRead::kError) Answer(Kind::kFetched, head.number);  // whatever it offered
    Keep(head.number, *value, read == FormRead::kError);
    return true;
  }
  fetcher_.Add(head.number, FetchClass::kPrefetch, std::move(offered), true,
               [this, name = head.number, value, error = read == FormRead::kError](bool ok, const std::string& fault) {
                 if (!ok) std::fprintf(stderr, "sheaf: a transfer failed: %s\n", fault.c_str());
                 if (ok) Keep(name, *value, error);
                 Answer(ok ? Kind::kFetched : Kind::kAgain, name);
               });
  return true;
}

void FarHalf::Answer(Kind kind, Name name) {
  Outgoing out;
  out.Bare(kind, name);
  if (!out.Flush(stream_)) End("");
}

void FarHalf::Keep(Name name, detail::Encoder& value, bool error) {
  RefCore promised;
  if (!names_.TakePromise(name, &promised)) return;
  runtime::HomeValue home = runtime::StoreHome(context_, value, error ? store::kFlagError : 0);
  context_.submitter().KeepPromise(static_cast<ObjectRoot*>(promised.pin.get()), home.flags,
                                   std::as_bytes(std::span(home.payload)).first(home.size), std::move(home.holds));
  context_.RingAwaiting();
}

bool FarHalf::TakeStart(const Head& head) {
  Start start{};
  if (!stream_.Read(&start, sizeof start)) return false;
  auto* arguments =
      new detail::Encoder;  // what it names stays until the process ends, as workers may start at any time
  std::string why;
  const FormRead read =
      ReadForm(stream_, head.bytes - sizeof start, [this](Name name) { return RefOfName(name); }, arguments, &why);
  if (read == FormRead::kHostile) End(why);
  if (read == FormRead::kOver) return false;
  wire::StartCall call{};
  call.function = start.function;
  call.digest = start.digest;
  call.marked = arguments->AppendMarks() ? 1 : 0;
  if (read == FormRead::kError || !context_.socket().Send(call, wire::Kind::kStartCall, arguments->payload()))
    End("what runs in every worker at its start could not be passed on");
  return true;
}

bool FarHalf::TakeForget(const Head& head) {
  std::vector<Name> names(head.bytes / sizeof(Name));
  if (!stream_.Read(names.data(), names.size() * sizeof(Name))) return false;
  for (const Name name : names) {
    names_.Erase(name);
    fetcher_.Let(name);
  }
  {
    std::lock_guard lock(ready_mutex_);
    forgotten_.insert(forgotten_.end(), names.begin(), names.end());
    has_ready_.store(true, std::memory_order_release);
  }
  return stream_.Skip(head.bytes % sizeof(Name));
}

bool FarHalf::TakeRenew(const Head& head) {
  std::string ticket(head.bytes, '\0');
  if (!stream_.Read(ticket.data(), ticket.size())) return false;
  if (!parked_) End("a grant that was not asked for");
  ticket += "\n" + peer_;
  const auto answer = context_.socket().Call(wire::Bare{}, wire::Kind::kAdmit, std::as_bytes(std::span(ticket)));
  if (!answer || answer->kind() != wire::Kind::kDone) {
    if (answer && head.number != 0) {  // no harm done: nothing came along with a credit
      Answer(Kind::kStays, head.number);
      return true;
    }
    const std::string why = answer ? answer->Tail<wire::Refused>() : "the pool is gone";
    Outgoing out;
    out.Begin(Kind::kRefused, 0);
    out.Raw(why.data(), std::min<std::size_t>(why.size(), kTextMax));
    out.End();
    out.Flush(stream_);
    End("it was refused another grant: " + why);
  }
  parked_ = false;
  cold_ = true;
  Answer(Kind::kRenewed, head.number);
  return true;
}

void FarHalf::ReadLoop() {
  for (;;) {
    Head head{};
    if (!stream_.Read(&head, sizeof head)) End("");
    if (const std::string why = CheckHead(head, true); !why.empty()) End(why);
    bool ok = true;
    switch (head.kind) {
      case Kind::kPush:
        ok = TakePush(head);
        break;
      case Kind::kValue:
        ok = TakeValue(head);
        break;
      case Kind::kStart:
        ok = TakeStart(head);
        break;
      case Kind::kForget:
        ok = TakeForget(head);
        break;
      case Kind::kPark:
        parked_ = true;
        {  // its workers stay while they are in nobody's way
          Submitter::Lock lock(context_.submitter());
          context_.submitter().LowerWantLocked(true, NowNanos());
        }
        context_.socket().Send(wire::Bare{}, wire::Kind::kReleased);
        break;
      case Kind::kRenew:
        ok = TakeRenew(head);
        break;
      case Kind::kFetched:
        offers_.Take(head.number);
        break;
      case Kind::kAgain: {
        offers_.Take(head.number);
        std::lock_guard lock(ready_mutex_);
        again_.push_back(head.number);
        has_ready_.store(true, std::memory_order_release);
        break;
      }
      case Kind::kLast:
        eventfd_write(last_.get(), 1);
        break;
      case Kind::kPing:
        break;
      default:
        End("a frame out of its turn");
    }
    if (!ok) End("");
    if (!stream_.HasMore())
      ServeForAMoment(head.kind == Kind::kPush && std::exchange(cold_, false) ? kColdMomentNanos : kMomentNanos);
    if (head.kind == Kind::kPush || head.kind == Kind::kRenew) stream_.AwaitForAMoment(kAwaitNanos);
  }
}

// A short task is done before another thread would be awake. What is not, is left to Run's.
void FarHalf::ServeForAMoment(std::int64_t nanos) {
  Submitter& submitter = context_.submitter();
  if (std::unique_lock send(send_, std::try_to_lock); send) {
    const std::int64_t until = NowNanos() + nanos;
    for (std::uint64_t outstanding = 1; outstanding > 0 && NowNanos() < until && !stream_.Readable();) {
      {
        Submitter::Lock lock(submitter);
        submitter.PumpLocked();
        outstanding = submitter.outstanding();
      }
      SendReady();
      sched_yield();  // the worker may need this CPU
    }
  }
  FullBarrier();  // what was submitted before the look: whoever sleeps knows nothing of it
  if (asleep_.load(std::memory_order_acquire)) submitter.Bell(store::IndexOf(context_.client));
}

}  // namespace sheaf::relay
