// TCP that does not leave the machine.
#pragma once

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace sheaf {

inline bool IsLoopback(const sockaddr* address) {
  if (address->sa_family == AF_INET)
    return (ntohl(reinterpret_cast<const sockaddr_in*>(address)->sin_addr.s_addr) >> 24) == 127;
  return address->sa_family == AF_INET6 &&
         IN6_IS_ADDR_LOOPBACK(&reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr);
}

// Before connect or listen: a system may be set to a congestion control that spaces packets out by timers (BBR does). On loopback
// there is no queue to be kind to, and the timers took a third of all the time of a transfer. Every kernel has Reno, which has
// none, and lets everybody choose it; where it does not, nothing is lost but time.
inline void SendWithoutPacing(int socket) { setsockopt(socket, IPPROTO_TCP, TCP_CONGESTION, "reno", 4); }

}  // namespace sheaf
