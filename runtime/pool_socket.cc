#include "runtime/pool_socket.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/clock.h"

namespace sheaf::runtime {

UniqueFd::~UniqueFd() {
  if (fd_ >= 0) close(fd_);
}

bool PoolSocket::SendBytes(void* fixed, std::size_t size, std::span<const std::byte> tail, std::span<const int> fds) {
  auto* header = static_cast<wire::Header*>(fixed);
  header->size = static_cast<std::uint32_t>(size + tail.size());
  if (header->size > limits::kWireBytesMax || fds.size() > 8) return false;
  iovec parts[2] = {{fixed, size}, {const_cast<std::byte*>(tail.data()), tail.size()}};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = tail.empty() ? 1 : 2;
  alignas(cmsghdr) char control[CMSG_SPACE(8 * sizeof(int))] = {};
  if (!fds.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(rights), fds.data(), fds.size_bytes());
  }
  for (;;) {
    if (sendmsg(fd_.get(), &message, MSG_NOSIGNAL) >= 0) return true;
    if (errno == EINTR) continue;
    if (errno == EAGAIN) {
      pollfd ready{fd_.get(), POLLOUT, 0};
      poll(&ready, 1, 1000);
      continue;
    }
    Lose();
    return false;
  }
}

void PoolSocket::Lose() {
  if (end_code_) _exit(*end_code_);
  lost_.store(true, std::memory_order_release);
}

bool PoolSocket::ReadOne() {
  Message arrived;
  iovec part{scratch_.data(), scratch_.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(8 * sizeof(int))];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t got = recvmsg(fd_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  // Said once, before anything else, if the pool went without having read all: why it did may still be here.
  if (got < 0 && errno == ECONNRESET) got = recvmsg(fd_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (got <= 0) {
    Lose();
    return false;
  }
  arrived.bytes.assign(scratch_.begin(), scratch_.begin() + got);
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
      arrived.fds.emplace_back(fd);
    }
  }
  if (arrived.bytes.size() < sizeof(wire::Header)) return true;
  const auto* header = arrived.As<wire::Header>();
  if (header->request != 0) {
    answers_.emplace(header->request, std::move(arrived));
  } else {
    messages_.push_back(std::move(arrived));
  }
  return true;
}

bool PoolSocket::ReadArrived() {
  std::lock_guard lock(mutex_);
  while (ReadOne()) {
  }
  return !lost();
}

std::optional<Message> PoolSocket::TakeMessage() {
  for (;;) {
    Message message;
    {
      std::lock_guard lock(mutex_);
      if (messages_.empty()) return {};
      message = std::move(messages_.front());
      messages_.pop_front();
    }
    if (message.kind() != wire::Kind::kNotice) return message;
    // By this process, and not by the pool: it may be made to wait for whoever reads it.
    std::fprintf(stderr, "sheaf: %s\n", message.Tail<wire::Header>().c_str());
  }
}

std::optional<Message> PoolSocket::AwaitAnswer(std::uint64_t request, std::chrono::nanoseconds timeout) {
  const std::int64_t deadline = NowNanos() + timeout.count();
  for (;;) {
    {
      std::lock_guard lock(mutex_);
      while (ReadOne()) {
      }
      const auto found = answers_.find(request);
      if (found != answers_.end()) {
        Message answer = std::move(found->second);
        answers_.erase(found);
        return answer;
      }
    }
    if (lost() || NowNanos() > deadline) return {};
    // Another thread may read our answer between the look and the poll: wait in short slices.
    pollfd ready{fd_.get(), POLLIN, 0};
    poll(&ready, 1, 2);
  }
}

}  // namespace sheaf::runtime
