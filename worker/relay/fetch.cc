#include "worker/relay/fetch.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "worker/relay/checksum.h"
#include "worker/relay/connect.h"
#include "worker/relay/stream.h"

namespace sheaf::relay {
namespace {

constexpr int kHoldersMax = 16;                      // tried one after the other
constexpr std::uint64_t kSeveralStreams = 32 << 20;  // from this size on
constexpr std::size_t kAhead = 2;                    // ranges asked for on one stream
constexpr std::int64_t kStallNanos = 5'000'000'000;  // a holder that lives and gets nothing itself
constexpr std::uint64_t kSlowBytes = 1 << 20;        // in FetchOptions::slow_nanos
constexpr auto kTick = std::chrono::milliseconds(200);

struct Range {
  std::uint64_t offset, size;
};

class Fetch {
 public:
  Fetch(const BlockOffer& offer, std::byte* to, const FetchOptions& options,
        const std::function<void(std::uint64_t)>& progress)
      : offer_(offer),
        first_(ReadAddress(offer.address)),
        to_(to),
        options_(options),
        progress_(progress),
        member_(options.member) {
    for (std::uint64_t at = 0; at < offer.bytes; at += kRangeBytes)
      ranges_.push_back({at, std::min(kRangeBytes, offer.bytes - at)});
    got_.resize(ranges_.size());
  }
  bool Run(std::string* why);

 private:
  struct Holder {
    std::uint64_t generation = 0, member = 0;  // generation 0: none yet
    std::string address;
  };
  void ReadStream();
  bool ReadRanges(Stream& stream, std::uint64_t generation);
  bool ReadParts(Stream& stream, Range* range, std::uint64_t generation);
  bool AskFor(Stream& stream, const Range& range);
  bool TakeRange(std::uint64_t generation, Range* range);
  void GiveBack(const Range& range);
  void Got(std::uint64_t offset, std::uint64_t size);
  bool Locate(Stream& line, std::uint64_t failed, std::string* why);
  void Failed(std::uint64_t generation);
  void GiveUpTheSlow();  // mutex_ held

  const BlockOffer offer_;
  const std::string first_;  // the first server
  std::byte* const to_;
  const FetchOptions options_;
  const std::function<void(std::uint64_t)>& progress_;
  const std::uint64_t member_;

  std::mutex mutex_;
  std::condition_variable changed_;
  Holder holder_;
  std::uint64_t failed_generation_ = 0;
  std::deque<Range> ranges_;        // nobody's
  std::vector<std::uint64_t> got_;  // bytes of each range, by its place
  std::uint64_t prefix_ = 0, told_ = 0, left_ = 0;
  std::int64_t moved_ = 0, later_ = 0;  // when bytes came last; when a holder said that it has no more yet
  std::int64_t window_ = 0;             // since when the holder's speed is looked at
  std::uint64_t window_left_ = 0;
  std::map<Stream*, std::uint64_t> reading_;  // by the generation of their holder
  bool over_ = false;                         // the streams end
};

bool Fetch::Locate(Stream& line, std::uint64_t failed, std::string* why) {
  AskFrame ask{kTransferMagic, Ask::kLocate, offer_.key, member_, failed, 0, WriteAddress(options_.own_address)};
  iovec piece{&ask, sizeof ask};
  SayFrame say{};
  if (!line.Write(&piece, 1) || !line.Read(&say, sizeof say)) {
    *why = "the machine that offers it does not answer";
    return false;
  }
  *why = CheckSay(say, 0, 0);
  if (why->empty() && say.kind != Say::kHolder) *why = "it is not offered any more";
  if (!why->empty()) return false;
  std::lock_guard lock(mutex_);
  ++holder_.generation;
  window_ = NowNanos();
  window_left_ = left_;
  holder_.member = say.offset;
  holder_.address = say.offset == 0 ? first_ : ReadAddress(say.address);
  moved_ = NowNanos();
  changed_.notify_all();
  return true;
}

void Fetch::Failed(std::uint64_t generation) {
  std::lock_guard lock(mutex_);
  failed_generation_ = std::max(failed_generation_, generation);
  changed_.notify_all();
}

void Fetch::GiveUpTheSlow() {
  const std::int64_t now = NowNanos();
  if (holder_.member == 0 || failed_generation_ >= holder_.generation || now - window_ < options_.slow_nanos) return;
  // Who waits for bytes itself is not slow.
  if (window_left_ - left_ < kSlowBytes && later_ < window_) {
    failed_generation_ = holder_.generation;
    for (const auto& [stream, generation] : reading_)
      if (generation <= failed_generation_) stream->Abort();
  }
  window_ = now;
  window_left_ = left_;
}

bool Fetch::TakeRange(std::uint64_t generation, Range* range) {
  std::lock_guard lock(mutex_);
  if (ranges_.empty() || over_ || failed_generation_ >= generation) return false;
  *range = ranges_.front();
  ranges_.pop_front();
  return true;
}

void Fetch::GiveBack(const Range& range) {
  if (range.size == 0) return;
  std::lock_guard lock(mutex_);
  const auto at = std::find_if(ranges_.begin(), ranges_.end(), [&](const Range& r) { return r.offset > range.offset; });
  ranges_.insert(at, range);
}

void Fetch::Got(std::uint64_t offset, std::uint64_t size) {
  std::lock_guard lock(mutex_);
  moved_ = NowNanos();
  got_[offset / kRangeBytes] += size;
  left_ -= size;
  while (prefix_ < offer_.bytes) {
    const std::uint64_t place = prefix_ / kRangeBytes, end = place * kRangeBytes + got_[place];
    if (end <= prefix_) break;
    prefix_ = end;
  }
  if (left_ == 0) changed_.notify_all();
  if (prefix_ - told_ >= kRangeBytes || prefix_ == offer_.bytes) progress_(told_ = prefix_);
}

bool Fetch::AskFor(Stream& stream, const Range& range) {
  AskFrame ask{kTransferMagic, Ask::kRead, offer_.key, member_, range.offset, range.size, {}};
  iovec piece{&ask, sizeof ask};
  return stream.Write(&piece, 1);
}

// Shrinks *range by what has come. False: the holder does not serve it.
bool Fetch::ReadParts(Stream& stream, Range* range, std::uint64_t generation) {
  while (range->size > 0) {
    SayFrame say{};
    if (!stream.Read(&say, sizeof say)) return false;
    if (!CheckSay(say, range->offset, range->offset + range->size).empty()) return false;
    if (say.kind == Say::kLater) {
      std::lock_guard lock(mutex_);
      later_ = NowNanos();
      if (over_ || failed_generation_ >= generation || NowNanos() - moved_ > kStallNanos) return false;
      continue;
    }
    if (say.kind != Say::kPart) return false;
    if (!stream.Read(to_ + say.offset, say.size)) return false;
    if (!stream.Authenticates() && Checksum(to_ + say.offset, say.size) != say.checksum) return false;
    range->offset += say.size;
    range->size -= say.size;
    Got(say.offset, say.size);
  }
  return true;
}

// False: the holder failed; what it owes is nobody's again.
bool Fetch::ReadRanges(Stream& stream, std::uint64_t generation) {
  std::deque<Range> asked;
  bool ok = true;
  for (;;) {
    Range range{};
    while (ok && asked.size() < kAhead && TakeRange(generation, &range)) {
      asked.push_back(range);
      ok = AskFor(stream, range);
    }
    if (asked.empty() || !ok) break;
    ok = ReadParts(stream, &asked.front(), generation);
    if (ok) asked.pop_front();
  }
  for (const Range& range : asked) GiveBack(range);
  return ok;
}

void Fetch::ReadStream() {
  std::uint64_t tried = 0;
  for (;;) {
    Holder holder;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] {
        return over_ || (holder_.generation > failed_generation_ && (holder_.generation > tried || !ranges_.empty()));
      });
      if (over_) return;
      holder = holder_;
    }
    tried = holder.generation;
    std::string peer, why;
    auto transport = Dial(holder.address, options_.pki, &peer, &why);
    if (!transport) {
      Failed(holder.generation);
      continue;
    }
    Stream stream(std::move(transport), sizeof(SayFrame));  // parts go straight where they belong
    {
      std::lock_guard lock(mutex_);
      reading_[&stream] = holder.generation;
    }
    const bool served = ReadRanges(stream, holder.generation);
    {
      std::lock_guard lock(mutex_);
      reading_.erase(&stream);
    }
    if (!served) Failed(holder.generation);
  }
}

bool Fetch::Run(std::string* why) {
  left_ = offer_.bytes;
  std::string peer;
  auto transport = Dial(first_, options_.pki, &peer, why);
  if (!transport) return false;
  Stream line(std::move(transport));
  if (!Locate(line, 0, why)) return false;
  std::vector<std::thread> streams;
  const unsigned wanted = offer_.bytes >= kSeveralStreams ? std::max(1u, options_.streams) : 1;
  try {
    while (streams.size() < wanted) streams.emplace_back([this] { ReadStream(); });
  } catch (const std::system_error&) {  // as many as the system has threads for
    if (streams.empty()) {
      *why = "the system has no threads left";
      return false;
    }
  }
  bool ok = true, line_up = true;
  for (int holders = 1; ok;) {
    std::uint64_t failed = 0;
    {
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, kTick, [&] { return left_ == 0 || failed_generation_ == holder_.generation; });
      if (left_ == 0) break;
      GiveUpTheSlow();
      if (failed_generation_ == holder_.generation) failed = holder_.member;
      ok = failed_generation_ < holder_.generation;
    }
    if (ok) {
      AskFrame ping{kTransferMagic, Ask::kPing, offer_.key, member_, 0, 0, {}};
      iovec piece{&ping, sizeof ping};
      if (line_up) line_up = line.Write(&piece, 1);
      continue;
    }
    if (++holders > kHoldersMax) {
      *why = "no machine that has it gives all of it";
    } else if (line_up) {
      ok = Locate(line, failed, why);
    } else {
      *why = "its holder failed, and the machine that offers it is gone";
    }
  }
  {
    std::lock_guard lock(mutex_);
    over_ = true;
    changed_.notify_all();
  }
  for (std::thread& stream : streams) stream.join();
  if (ok && line_up) {
    AskFrame done{kTransferMagic, Ask::kDone, offer_.key, member_, 0, 0, {}};
    iovec piece{&done, sizeof done};
    line.Write(&piece, 1);
  }
  return ok;
}

}  // namespace

bool FetchBlock(const BlockOffer& offer, std::byte* to, const FetchOptions& options,
                const std::function<void(std::uint64_t)>& progress, std::string* why) {
  return Fetch(offer, to, options, progress).Run(why);
}

}  // namespace sheaf::relay
