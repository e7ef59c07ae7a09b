// How PoolServer's files send a message: header filled in, tail behind it.
#pragma once

#include <cstring>

#include "worker/pool_server.h"

namespace sheaf {

template <typename T>
void PoolServer::Send(Connection& connection, wire::Kind kind, std::uint64_t request, T message,
                      std::span<const int> fds, std::string_view tail) {
  message.header = {kind, static_cast<std::uint32_t>(sizeof(T) + tail.size()), request};
  std::vector<std::byte> bytes(sizeof(T) + tail.size());
  std::memcpy(bytes.data(), &message, sizeof(T));
  if (!tail.empty()) std::memcpy(bytes.data() + sizeof(T), tail.data(), tail.size());
  SendPacketTo(connection, bytes, fds);
}

}  // namespace sheaf
