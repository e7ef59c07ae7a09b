// One connection between the halves of a relay: bytes in, bytes out, and nothing for two seconds means the end.
//
// One thread at a time reads, any thread writes; writes are whole and never interleave. Blocking: a peer that does not read stops the
// writer, and with it what feeds the writer.
#pragma once

#include <sys/uio.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "base/fd.h"

namespace sheaf::relay {

// How bytes travel: in the clear on this machine, under TLS between machines.
class Transport {
 public:
  virtual ~Transport() = default;
  // At least one byte, unless the peer is gone or silent for too long: 0. `all`: as many as asked for, if that saves work.
  virtual std::size_t Read(std::byte* to, std::size_t most, bool all = false) = 0;
  virtual bool Write(iovec* pieces, int count) = 0;     // all of it; changes `pieces`
  virtual bool Authenticates() const { return false; }  // what comes is what was sent, or nothing comes
  virtual bool Readable() { return true; }              // false: Read would wait. When in doubt, true
  virtual bool Await() { return true; }                 // until something comes; false: silence for too long
  virtual void Abort() {}                               // from any thread: what waits here waits no more
};
std::unique_ptr<Transport> PlainTransport(Fd socket);
bool AwaitInput(int socket);  // false: nothing for as long as silence may last

inline constexpr std::int64_t kSilenceMaxNanos = 2'000'000'000;
inline constexpr std::int64_t kPingNanos = 200'000'000;

class Stream {
 public:
  // `buffer`: how much is read ahead of what was asked for, at most.
  explicit Stream(std::unique_ptr<Transport> transport, std::size_t buffer = 256 * 1024)
      : transport_(std::move(transport)), buffer_(buffer) {}

  // Exactly `size` bytes; false: the stream is over.
  bool Read(void* to, std::size_t size);
  void Abort() { transport_->Abort(); }
  bool Skip(std::uint64_t size);
  bool Write(iovec* pieces, int count);
  bool Authenticates() const { return transport_->Authenticates(); }
  bool HasMore() const { return begin_ != end_; }  // read already, of the next frames
  // Looks again and again for `nanos`, and lets others have the CPU in between: a frame that is on its way comes sooner than
  // a sleeper wakes up. What is there, or not, is for Read to find.
  void AwaitForAMoment(std::int64_t nanos);
  bool Readable() { return HasMore() || transport_->Readable(); }
  bool Await() { return transport_->Await(); }  // bytes of the connection; not those that lie here
  std::int64_t last_write() const { return last_write_.load(std::memory_order_relaxed); }

 private:
  const std::unique_ptr<Transport> transport_;
  std::vector<std::byte> buffer_;  // the reader's
  std::size_t begin_ = 0, end_ = 0;
  std::mutex write_mutex_;
  std::atomic<std::int64_t> last_write_{0};
};

}  // namespace sheaf::relay
