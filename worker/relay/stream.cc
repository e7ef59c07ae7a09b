#include "worker/relay/stream.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/clock.h"

namespace sheaf::relay {
namespace {

class Plain final : public Transport {
 public:
  explicit Plain(Fd socket) : socket_(std::move(socket)) {
    const int on = 1;
    setsockopt(socket_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const timeval silence{kSilenceMaxNanos / 1'000'000'000, 0};
    setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof silence);
    // A write waits for the peer's reader, which may be slow; unacknowledged bytes mean that the peer is away.
    const unsigned unacknowledged = kSilenceMaxNanos / 1'000'000;
    setsockopt(socket_.get(), IPPROTO_TCP, TCP_USER_TIMEOUT, &unacknowledged, sizeof unacknowledged);
  }

  std::size_t Read(std::byte* to, std::size_t most, bool all) override {
    for (;;) {
      // A large piece is waited for as a whole: fewer wake-ups, and no small reads between them.
      const ssize_t got = recv(socket_.get(), to, most, all ? MSG_WAITALL : 0);
      if (got > 0) return static_cast<std::size_t>(got);
      if (got < 0 && errno == EINTR) continue;
      return 0;
    }
  }

  bool Write(iovec* pieces, int count) override {
    while (count > 0) {
      msghdr message{};
      message.msg_iov = pieces;
      message.msg_iovlen = static_cast<std::size_t>(std::min(count, 64));
      ssize_t sent = sendmsg(socket_.get(), &message, MSG_NOSIGNAL);
      if (sent < 0 && errno == EINTR) continue;
      if (sent < 0) return false;
      while (count > 0 && static_cast<std::size_t>(sent) >= pieces->iov_len) {
        sent -= static_cast<ssize_t>(pieces->iov_len);
        ++pieces;
        --count;
      }
      if (count > 0) {
        pieces->iov_base = static_cast<char*>(pieces->iov_base) + sent;
        pieces->iov_len -= static_cast<std::size_t>(sent);
      }
    }
    return true;
  }

  bool Readable() override {
    pollfd waits{socket_.get(), POLLIN, 0};
    return poll(&waits, 1, 0) != 0;
  }

  bool Await() override { return AwaitInput(socket_.get()); }
  void Abort() override { shutdown(socket_.get(), SHUT_RDWR); }

 private:
  Fd socket_;
};

}  // namespace

bool AwaitInput(int socket) {
  pollfd waits{socket, POLLIN, 0};
  for (;;) {
    const int ready = poll(&waits, 1, kSilenceMaxNanos / 1'000'000);
    if (ready >= 0 || errno != EINTR) return ready > 0;
  }
}

std::unique_ptr<Transport> PlainTransport(Fd socket) { return std::make_unique<Plain>(std::move(socket)); }

bool Stream::Read(void* to, std::size_t size) {
  auto* at = static_cast<std::byte*>(to);
  while (size > 0) {
    if (begin_ == end_) {
      // Large pieces go where they belong, past the buffer.
      if (size >= buffer_.size()) {
        const std::size_t got = transport_->Read(at, size, true);
        if (got == 0) return false;
        at += got;
        size -= got;
        continue;
      }
      begin_ = 0;
      end_ = transport_->Read(buffer_.data(), buffer_.size());
      if (end_ == 0) return false;
    }
    const std::size_t some = std::min(size, end_ - begin_);
    std::memcpy(at, buffer_.data() + begin_, some);
    begin_ += some;
    at += some;
    size -= some;
  }
  return true;
}

void Stream::AwaitForAMoment(std::int64_t nanos) {
  for (const std::int64_t until = NowNanos() + nanos; !Readable() && NowNanos() < until;) sched_yield();
}

bool Stream::Skip(std::uint64_t size) {
  std::byte waste[4096];
  while (size > 0) {
    const std::size_t some = std::min<std::uint64_t>(size, sizeof waste);
    if (!Read(waste, some)) return false;
    size -= some;
  }
  return true;
}

bool Stream::Write(iovec* pieces, int count) {
  std::lock_guard lock(write_mutex_);
  last_write_.store(NowNanos(), std::memory_order_relaxed);
  return transport_->Write(pieces, count);
}

}  // namespace sheaf::relay
