// This process's end of the unix socket to its machine's pool: framing, descriptors beside messages, and calls that
// wait for an answer. Any thread may send and call. Messages that are no answers queue until TakeMessage, which says notices on
// stderr and gives the rest.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "proto/local_wire.h"

namespace sheaf::runtime {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~UniqueFd();
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_ = -1;
};

struct Message {
  std::vector<std::byte> bytes;
  std::vector<UniqueFd> fds;

  wire::Kind kind() const { return reinterpret_cast<const wire::Header*>(bytes.data())->kind; }
  // The fixed struct in front, or nullptr if the message is too short for it.
  template <class T>
  const T* As() const {
    return bytes.size() >= sizeof(T) ? reinterpret_cast<const T*>(bytes.data()) : nullptr;
  }
  template <class T>
  std::string Tail() const {
    return {reinterpret_cast<const char*>(bytes.data()) + sizeof(T), bytes.size() - sizeof(T)};
  }
};

class PoolSocket {
 public:
  explicit PoolSocket(UniqueFd fd) : fd_(std::move(fd)) {}

  template <class T>
  bool Send(T message, wire::Kind kind, std::span<const std::byte> tail = {}, std::span<const int> fds = {}) {
    message.header.kind = kind;
    return SendBytes(&message, sizeof message, tail, fds);
  }
  // Sends with a fresh request number and waits for the answer. Empty: the pool is gone or did not answer in time.
  template <class T>
  std::optional<Message> Call(T message, wire::Kind kind, std::span<const std::byte> tail = {},
                              std::span<const int> fds = {},
                              std::chrono::nanoseconds timeout = std::chrono::seconds(60)) {
    const std::uint64_t request = Ask(message, kind, tail, fds);
    return request == 0 ? std::nullopt : AwaitAnswer(request, timeout);
  }
  // The two halves of a call, for whoever has other things to do meanwhile. 0: the pool is gone.
  template <class T>
  std::uint64_t Ask(T message, wire::Kind kind, std::span<const std::byte> tail = {}, std::span<const int> fds = {}) {
    message.header.kind = kind;
    message.header.request = next_request_.fetch_add(1, std::memory_order_relaxed);
    return SendBytes(&message, sizeof message, tail, fds) ? message.header.request : 0;
  }
  std::optional<Message> AwaitAnswer(std::uint64_t request, std::chrono::nanoseconds timeout);
  // Reads what has arrived, without waiting. False once the pool has closed the connection.
  bool ReadArrived();
  std::optional<Message> TakeMessage();
  bool lost() const { return lost_.load(std::memory_order_acquire); }
  // For workers: whoever finds that the pool is gone ends the process there and then. Memory that cannot be had and objects that
  // cannot be read would otherwise become errors of tasks, though those are run again elsewhere.
  void EndProcessWhenLost(int code) { end_code_ = code; }
  int fd() const { return fd_.get(); }

 private:
  bool SendBytes(void* fixed, std::size_t size, std::span<const std::byte> tail, std::span<const int> fds);
  bool ReadOne();  // mutex_ held
  void Lose();

  UniqueFd fd_;
  std::atomic<std::uint64_t> next_request_{1};
  std::atomic<bool> lost_{false};
  std::optional<int> end_code_;
  std::mutex mutex_;  // reading, and what was read
  std::map<std::uint64_t, Message> answers_;
  std::deque<Message> messages_;
  std::vector<std::byte> scratch_ = std::vector<std::byte>(limits::kWireBytesMax);
};

}  // namespace sheaf::runtime
