// A near half without a grant: parked, and how it goes on, by another grant or by a credit. docs/decisions/0008.
#include <sched.h>

#include <mutex>
#include <string>
#include <utility>

#include "base/clock.h"
#include "worker/relay/near_half.h"

namespace sheaf::relay {

namespace {

constexpr std::int64_t kAnswerNanos = 500'000;  // the other half asks its pool, which may have to wake up

}  // namespace

void NearHalf::Wake() {
  runtime::Submitter::Lock lock(context_.submitter());
  context_.submitter().RingLocked();
}

void NearHalf::Park(bool gently) {
  (gently ? gently_asked_ : park_asked_).store(true, std::memory_order_release);
  Wake();
}

// The pool asks again, later, if something is away.
void NearHalf::ParkIfIdle() {
  park_asked_.store(false, std::memory_order_relaxed);
  if (parked_.load(std::memory_order_relaxed) || !MayEnd() || !stays_.empty() || !offers_.empty() || !late_.empty())
    return;
  asked_ = false;
  {
    std::lock_guard parking(parking_);
    credit_ = {};
    parked_.store(true, std::memory_order_release);
  }
  out_.Bare(Kind::kPark, 0);
  if (!out_.Flush(stream_)) End("it cannot be written to");
  wire::Parked parked{};
  parked.bytes = names_.bytes();
  context_.socket().Send(parked, wire::Kind::kParked);
}

// Tasks wait. Nothing goes along with a credit: it may be refused, and what was claimed could not be given back.
void NearHalf::AskOrBegin() {
  Credit credit;
  {
    std::lock_guard parking(parking_);
    credit = std::exchange(credit_, {});
    if (credit.grant != 0 && credit.until <= NowNanos()) credit = {};
    shown_ = credit.grant;
  }
  if (credit.grant == 0) {
    context_.socket().Send(wire::Bare{}, wire::Kind::kAsks);
    return;
  }
  Outgoing out;
  out.Begin(Kind::kRenew, credit.grant);
  out.Raw(credit.ticket.data(), credit.ticket.size());
  out.End();
  if (!out.Flush(stream_)) End("it cannot be written to");
  // Awake, this thread sees the answer sooner than the reader, which would have to wake up twice: itself, and then this one.
  loop_reads_.store(1, std::memory_order_relaxed);
  const std::int64_t until = NowNanos() + kAnswerNanos;
  while (parked_.load(std::memory_order_relaxed) && NowNanos() < until) {
    {
      const std::unique_lock lock(reading_, std::try_to_lock);
      if (lock && stream_.Readable()) ReadFrame();
    }
    sched_yield();
  }
}

bool NearHalf::CreditTaken(std::uint64_t credit) {
  {
    std::lock_guard parking(parking_);
    if (credit == 0 || credit != shown_) return credit == 0;
    shown_ = 0;
    ticket_.clear();  // of a grant that nobody needs: the pool returns it when it hears of the credit
    park_asked_.store(false, std::memory_order_relaxed);  // of the grant before
    parked_.store(false, std::memory_order_release);
  }
  begun_.store(credit, std::memory_order_release);
  Wake();
  return true;
}

void NearHalf::CreditRefused(std::uint64_t credit) {
  std::string ticket;
  {
    std::lock_guard parking(parking_);
    if (credit != shown_) return;
    shown_ = 0;
    ticket.swap(ticket_);
  }
  if (!ticket.empty()) return Renew(std::move(ticket));
  context_.socket().Send(wire::Bare{}, wire::Kind::kAsks);
}

void NearHalf::Renew(std::string ticket) {
  {
    std::lock_guard parking(parking_);
    if (!parked_.load(std::memory_order_relaxed)) return;
    if (auto credit = CreditIn(ticket)) {
      credit_ = std::move(*credit);
      return;
    }
    credit_ = {};
    if (shown_ != 0) {
      ticket_ = std::move(ticket);
      return;
    }
  }
  Outgoing out;
  out.Begin(Kind::kRenew, 0);
  out.Raw(ticket.data(), ticket.size());
  out.End();
  if (!out.Flush(stream_)) End("it cannot be written to");
  // What follows is read after the ticket. If that is refused, the other half ends, and what was sent is run elsewhere.
  parked_.store(false, std::memory_order_release);
  Wake();
}

}  // namespace sheaf::relay
