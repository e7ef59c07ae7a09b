// Where a scheduler listens: a unix socket, TCP on the loopback interface, or any other address under TLS.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace sheaf::scheduler {

struct ListenAddress {
  enum class Fault { kNone, kMalformed, kNotLocal };

  std::string grpc;       // as gRPC wants it: "unix:/path" or "127.0.0.1:4711"
  std::string unix_path;  // empty: TCP
  std::string host;       // TCP: "127.0.0.1" or "[::1]"
  std::uint16_t port = 0;
  bool host_is_name = false;
  Fault fault = Fault::kNone;  // kNotLocal: well-formed, but other machines can reach it: without credentials no
  std::string reason;          // what is wrong, and what to write instead
};

// Takes "/path", "unix:/path", "HOST:PORT" and "[::1]:PORT"; port 0 lets the system choose. HOST is 127.0.0.0/8,
// "localhost" or ::1, or the fault is kNotLocal.
ListenAddress ParseListenAddress(std::string_view text);

}  // namespace sheaf::scheduler
