#include "worker/relay/connect.h"

#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "base/address.h"
#include "base/loopback.h"
#include "worker/relay/tls.h"

namespace sheaf::relay {
namespace {

constexpr int kConnectMillis = 2000;

Fd ConnectTo(const std::string& address, std::string* why) {
  std::string host, port;
  if (!SplitAddress(address, &host, &port)) {
    *why = "'" + address + "' is no address of a pool";
    return {};
  }
  addrinfo wish{}, *found = nullptr;
  wish.ai_socktype = SOCK_STREAM;
  wish.ai_flags = AI_NUMERICSERV;
  const int fault = getaddrinfo(host.c_str(), port.c_str(), &wish, &found);
  if (fault != 0) {
    *why = "the pool's address " + address + " cannot be resolved: " + gai_strerror(fault);
    return {};
  }
  int error = 0;
  Fd connected;
  for (const addrinfo* at = found; at && !connected; at = at->ai_next) {
    Fd socket(::socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket) continue;
    if (IsLoopback(at->ai_addr)) SendWithoutPacing(socket.get());
    if (connect(socket.get(), at->ai_addr, at->ai_addrlen) != 0 && errno != EINPROGRESS) {
      error = errno;
      continue;
    }
    pollfd waits{socket.get(), POLLOUT, 0};
    socklen_t size = sizeof error;
    error = ETIMEDOUT;
    if (poll(&waits, 1, kConnectMillis) == 1) getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) continue;
    fcntl(socket.get(), F_SETFL, fcntl(socket.get(), F_GETFL) & ~O_NONBLOCK);
    connected = std::move(socket);
  }
  freeaddrinfo(found);
  if (!connected) *why = "the pool at " + address + " cannot be reached: " + std::strerror(error);
  return connected;
}

}  // namespace

std::unique_ptr<Transport> Secure(Fd socket, bool connects, const std::string& pki, std::string* peer,
                                  std::string* why) {
  if (pki.empty()) return PlainTransport(std::move(socket));
  return TlsTransport(std::move(socket), connects, scheduler::ReadCredentials(pki), peer, why);
}

std::unique_ptr<Transport> Dial(const std::string& address, const std::string& pki, std::string* peer,
                                std::string* why) {
  Fd socket = ConnectTo(address, why);
  if (!socket) return nullptr;
  auto transport = Secure(std::move(socket), true, pki, peer, why);
  if (!transport) *why = "the pool at " + address + ": " + *why;
  return transport;
}

}  // namespace sheaf::relay
