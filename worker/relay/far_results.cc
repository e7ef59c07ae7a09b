// What a far half sends back: results, values that they speak of, what workers print.
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/barrier.h"
#include "base/clock.h"
#include "runtime/getter.h"
#include "runtime/progress.h"
#include "sheaf/error.h"
#include "worker/relay/far_half.h"

namespace sheaf::relay {

using detail::ObjectId;
using detail::RefCore;
using runtime::Submitter;

namespace {

constexpr std::int64_t kMomentNanos = 30'000, kSpinNanos = 20'000, kSleepNanos = 50'000'000,
                       kWorkSleepNanos = 5'000'000, kForeignSleepNanos = 1'000'000;
constexpr int kPipePieces = 5;     // of 16 KiB
constexpr int kFallAsleepMs = 50;  // a task may still run that nobody waits for

}  // namespace

Names::Name FarHalf::NameRefOf(const RefCore& ref) {
  const ObjectId id = runtime::IdOf(context_, *ref.pin.get());
  const std::int64_t now = NowNanos();
  if (const Name name = names_.Find(id, now)) return name;
  RefCore whole{ref.pin, detail::kWhole};
  const Name name = names_.BindNext(id, whole, now);
  if (ref.pin.get()->kind == runtime::kObjectRoot) {
    Await(name, whole, 0);
  } else {
    foreign_.emplace_back(name, std::move(whole));
  }
  return name;
}

// What failed because this machine's pool has ended is not the task's result: the other machine has it run again elsewhere.
void FarHalf::EndIfPoolIsGone(std::string_view error) {
  constexpr int kMomentMs = 200;  // a process's sockets close one after the other: a worker may have seen it before us
  pollfd pool{context_.socket().fd(), POLLRDHUP, 0};
  const bool lost = error.find("LostError") != std::string_view::npos;
  const bool just_asked = lost && NowNanos() - asked_ < kMomentNanos * 1000;  // of many at once, the first waits
  const int patience = lost && !just_asked ? kMomentMs : 0;
  if (context_.pool_lost() || context_.socket().lost() || poll(&pool, 1, patience) > 0) End("its pool has ended");
  if (lost) asked_ = NowNanos();
}

// False: its blocks lie elsewhere, and cannot be had just now.
bool FarHalf::SendResult(Name name, std::uint64_t took_nanos, Offers* offers) {
  const RefCore ref = names_.RefOf(name);
  if (!ref.pin) return true;
  detail::Stored value;
  std::string lost;
  try {
    value = runtime::FetchObject(context_, ref, kForever);
    if (LookForBlocks(context_, value, offers) != Blocks::kReady) return false;
  } catch (const Error& error) {
    lost = error.what();
  }
  if (name & kFarNames) {
    out_.Begin(Kind::kValue, name);
  } else {
    const Done done{took_nanos};
    out_.Begin(Kind::kDone, name);
    out_.Raw(&done, sizeof done);
  }
  std::uint64_t bytes = 0;
  if (lost.empty()) {
    if (value.error) EndIfPoolIsGone({reinterpret_cast<const char*>(value.payload.data()), value.payload.size()});
    bool gone = false;
    bytes = WriteForm(context_, value, [this](const RefCore& inner) { return NameRefOf(inner); }, &out_, offers, &gone);
    if (gone) EndIfPoolIsGone("LostError");  // what was written is not sent then
  } else {
    EndIfPoolIsGone("LostError");
    WriteErrorForm("ObjectLostError", lost, &out_);
  }
  out_.End();
  if (offers) offers->Keep(name, std::move(value), bytes);
  if (out_.large() && !out_.Flush(stream_)) End("");
  return true;
}

std::uint32_t FarHalf::SendReady() {
  std::vector<Ready> ready;
  std::vector<Name> forgotten, again;
  std::vector<std::pair<Name, std::string>> refused;
  if (has_ready_.load(std::memory_order_acquire)) {
    std::lock_guard lock(ready_mutex_);
    ready.swap(ready_);
    forgotten.swap(forgotten_);
    again.swap(again_);
    refused.swap(refused_);
    has_ready_.store(false, std::memory_order_relaxed);
  }
  std::uint32_t waiting = 0;
  {
    Submitter::Lock lock(context_.submitter());
    waiting = context_.submitter().BlockedWorkersLocked();
    for (Ready& one : ready) one.took_nanos = context_.submitter().core().CostOf(one.function);
  }
  if (waiting != told_waiting_) out_.Bare(Kind::kWaiting, told_waiting_ = waiting);
  std::vector<Late> late;
  late.swap(late_);
  for (const Ready& one : ready) late.push_back({one.name, one.took_nanos, false});
  for (const Name name : again) late.push_back({name, 0, true});
  for (const Late& one : late)
    if (!SendResult(one.name, one.took_nanos, one.again ? nullptr : &offers_)) late_.push_back(one);
  for (const auto& [name, error] : refused) {
    const Done done{};
    const FormHead form{kFormError, static_cast<std::uint32_t>(error.size()), 0, 0, 0};
    out_.Begin(Kind::kDone, name);
    out_.Raw(&done, sizeof done);
    out_.Raw(&form, sizeof form);
    out_.Raw(error.data(), error.size());
    out_.End();
  }
  std::vector<std::pair<Name, RefCore>> foreign;
  foreign.swap(foreign_);
  for (auto& [name, ref] : foreign) {
    if (!runtime::ObjectIsReady(context_, ref)) {
      foreign_.emplace_back(name, std::move(ref));
    } else if (!SendResult(name, 0, &offers_)) {
      late_.push_back({name, 0, false});
    }
  }
  has_foreign_.store(!foreign_.empty() || !late_.empty(), std::memory_order_relaxed);
  constexpr std::size_t kMost = kTextMax / sizeof(Name);
  for (std::size_t at = 0; at < forgotten.size(); at += kMost) {
    out_.Begin(Kind::kForgotten, 0);
    out_.Raw(forgotten.data() + at, std::min(kMost, forgotten.size() - at) * sizeof(Name));
    out_.End();
  }
  if (out_.empty() && NowNanos() - stream_.last_write() > kPingNanos) out_.Bare(Kind::kPing, 0);
  if (!out_.Flush(stream_)) End("");
  return static_cast<std::uint32_t>(ready.size() + refused.size());
}

int FarHalf::Run() {
  Submitter& submitter = context_.submitter();
  context_.waiting_threads.fetch_add(1, std::memory_order_release);
  std::int64_t idle_since = 0;
  const auto pending = [&] { return has_ready_.load(std::memory_order_acquire); };
  while (!context_.pool_lost()) {
    std::uint64_t outstanding = 0;
    {
      Submitter::Lock lock(submitter);
      submitter.PumpLocked();
      outstanding = submitter.outstanding();
    }
    std::uint32_t sent = 0;
    {
      std::lock_guard send(send_);
      sent = SendReady();
    }
    if (sent > 0 || pending()) {
      idle_since = 0;
      continue;
    }
    const std::int64_t now = NowNanos();
    if (idle_since == 0) idle_since = now;
    if (now - idle_since < kSpinNanos) {
      sched_yield();
      continue;
    }
    asleep_.store(true, std::memory_order_release);
    FullBarrier();
    runtime::AwaitProgress(context_, nullptr, runtime::Until::kNext,
                           has_foreign_.load(std::memory_order_relaxed) ? kForeignSleepNanos
                           : outstanding > 0                            ? kWorkSleepNanos
                                                                        : kSleepNanos,
                           [&] { return submitter.outstanding() != outstanding || pending(); });
    asleep_.store(false, std::memory_order_release);
    idle_since = 0;
  }
  End("the pool of this machine has ended");
}

bool FarHalf::WorkersAreAsleep() {
  Submitter::Lock lock(context_.submitter());
  return context_.submitter().WorkersAreAsleepLocked();
}

// Whole lines, or what has come without an end for a while; all that there is when the other half ends.
void FarHalf::OutputLoop(int out, int err) {
  std::string waiting[2];
  pollfd polls[3] = {{out, POLLIN, 0}, {err, POLLIN, 0}, {last_.get(), POLLIN, 0}};
  Outgoing frames;
  const auto send = [&](int which, std::size_t size) {
    frames.Begin(Kind::kOutput, static_cast<std::uint64_t>(which) + 1);
    frames.Raw(waiting[which].data(), size);
    frames.End();
    waiting[which].erase(0, size);
  };
  for (;;) {
    const bool partial = !waiting[0].empty() || !waiting[1].empty();
    int ready = poll(polls, 3, partial ? 200 : -1);
    const bool last = ready > 0 && polls[2].revents != 0;
    if (last) {  // a line without an end leaves its worker when that falls asleep
      for (int i = 0; i < kFallAsleepMs && !WorkersAreAsleep(); ++i) usleep(1'000);
      ready = poll(polls, 3, 0);
    }
    for (int i = 0; i < 2; ++i) {
      std::string& text = waiting[i];
      // Then as much as a pipe holds, and no more: a worker may write for ever.
      for (int pieces = last ? kPipePieces : 1; pieces > 0 && (polls[i].revents & POLLIN); --pieces) {
        char bytes[16 * 1024];
        const ssize_t got = read(polls[i].fd, bytes, sizeof bytes);
        if (got > 0) text.append(bytes, static_cast<std::size_t>(got));
        if (pieces > 1) poll(&polls[i], 1, 0);
      }
      const std::size_t end = text.rfind('\n');
      if (end != std::string::npos && !last) {
        send(i, end + 1);
      } else if (!text.empty() && (last || ready == 0 || text.size() > kTextMax / 2)) {
        while (!text.empty()) {
          std::size_t size = std::min<std::size_t>(text.size(), kTextMax / 2);
          if (const std::size_t line = text.rfind('\n', size - 1); size < text.size() && line != std::string::npos)
            size = line + 1;
          send(i, size);
          frames.Flush(stream_);
        }
      }
    }
    if (last) {
      eventfd_t asked = 0;
      eventfd_read(last_.get(), &asked);
      frames.Bare(Kind::kAllSaid, 0);
    }
    if (!frames.Flush(stream_)) return;
  }
}

}  // namespace sheaf::relay
