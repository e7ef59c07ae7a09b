#include "cli/pool_client.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <span>
#include <string_view>

#include "base/fd.h"
#include "base/limits.h"
#include "base/packet_socket.h"
#include "proto/local_wire.h"

namespace sheaf::cli {
namespace {

Fd Connect(const std::string& path, int type, std::string* reason) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    *reason = "the path of a unix socket has at most 107 bytes: " + path;
    errno = ENAMETOOLONG;
    return Fd();
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  Fd fd(socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  if (!fd) {
    *reason = std::string("cannot make a socket: ") + std::strerror(errno);
    return Fd();
  }
  // A listener whose queue is full makes connect wait: bound that, too.
  const timeval wait{2, 0};
  setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    const int error = errno;
    *reason = path + ": " + std::strerror(error);
    errno = error;
    return Fd();
  }
  return fd;
}

}  // namespace

Listener Probe(const std::string& path, std::string* reason) {
  if (Connect(path, SOCK_SEQPACKET, reason)) return Listener::kPool;
  if (errno != EPROTOTYPE) return Listener::kNobody;
  return Connect(path, SOCK_STREAM, reason) ? Listener::kScheduler : Listener::kNobody;
}

pid_t ListenerPid(const std::string& path) {
  std::string reason;
  Fd fd = Connect(path, SOCK_SEQPACKET, &reason);
  if (!fd) fd = Connect(path, SOCK_STREAM, &reason);
  if (!fd) return 0;
  ucred who{};
  socklen_t size = sizeof who;
  if (getsockopt(fd.get(), SOL_SOCKET, SO_PEERCRED, &who, &size) != 0) return 0;
  return who.pid;
}

std::string About(const std::string& address, const std::string& reason) {
  return address.empty() || reason.find(address) != std::string::npos ? reason : address + ": " + reason;
}

PoolAnswer AskPool(const std::string& path, std::chrono::milliseconds timeout) {
  PoolAnswer answer;
  const Fd fd = Connect(path, SOCK_SEQPACKET, &answer.reason);
  if (!fd) return answer;
  wire::Header question{wire::Kind::kStatus, sizeof question, 1};
  if (SendPacket(fd.get(), std::as_bytes(std::span(&question, 1)), {}, true) != PacketResult::kOk) {
    answer.reason = path + ": the pool closed the connection";
    return answer;
  }
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  for (;;) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd ready{fd.get(), POLLIN, 0};
    const int events = left.count() <= 0 ? 0 : poll(&ready, 1, static_cast<int>(left.count()));
    if (events < 0 && errno == EINTR) continue;
    if (events <= 0) {
      answer.timed_out = true;
      answer.reason = path + ": the pool did not answer within " + std::to_string(timeout.count()) + " ms";
      return answer;
    }
    Packet packet;
    const PacketResult result = ReceivePacket(fd.get(), limits::kWireBytesMax, false, &packet);
    if (result == PacketResult::kAgain) continue;
    if (result != PacketResult::kOk) {
      answer.reason = path + ": the pool closed the connection";
      return answer;
    }
    wire::Header header{};
    if (packet.bytes.size() >= sizeof header) {
      std::memcpy(&header, packet.bytes.data(), sizeof header);
    }
    const std::string_view text(reinterpret_cast<const char*>(packet.bytes.data()), packet.bytes.size());
    if (header.kind == wire::Kind::kRefused && text.size() >= sizeof(wire::Refused)) {
      answer.reason = path + ": " + std::string(text.substr(sizeof(wire::Refused)));
      return answer;
    }
    if (header.kind != wire::Kind::kStatusReply) {
      answer.foreign = true;
      answer.reason = path + ": what listens there is not a sheaf pool of this version";
      return answer;
    }
    if (const auto view = PoolViewFromJson(text.substr(sizeof header))) {
      answer.ok = true;
      answer.view = *view;
    } else {
      answer.foreign = true;
      answer.reason = path + ": the pool's answer cannot be read; is it of another version?";
    }
    return answer;
  }
}

}  // namespace sheaf::cli
