#include "scheduler/listen_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <charconv>

namespace sheaf::scheduler {
namespace {

ListenAddress Bad(ListenAddress::Fault fault, std::string reason) {
  ListenAddress address;
  address.fault = fault;
  address.reason = std::move(reason);
  return address;
}

}  // namespace

ListenAddress ParseListenAddress(std::string_view text) {
  using Fault = ListenAddress::Fault;
  const std::string given(text);
  std::string_view path = text;
  if (path.starts_with("unix:")) path.remove_prefix(5);
  if (path.starts_with("//")) path.remove_prefix(2);
  if (path.starts_with('/')) {
    if (path.size() >= sizeof(sockaddr_un{}.sun_path)) {
      return Bad(Fault::kMalformed, "the path of a unix socket has at most 107 bytes, this one " +
                                        std::to_string(path.size()) + ": " + given);
    }
    ListenAddress address;
    address.unix_path = std::string(path);
    address.grpc = "unix:" + address.unix_path;
    return address;
  }
  const std::size_t colon = text.rfind(':');
  if (text.starts_with("unix:") || colon == std::string_view::npos) {
    return Bad(Fault::kMalformed, "not an address: '" + given + "'; write /path/of/socket or IP:PORT");
  }
  ListenAddress address;
  const std::string_view port = text.substr(colon + 1);
  const auto [stop, fault] = std::from_chars(port.data(), port.data() + port.size(), address.port);
  if (fault != std::errc() || stop != port.data() + port.size()) {
    return Bad(Fault::kMalformed, "not a port: '" + std::string(port) + "' in '" + given + "'");
  }
  std::string host(text.substr(0, colon));
  if (host == "localhost") host = "127.0.0.1";
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  in_addr four{};
  in6_addr six{};
  bool local = false;
  if (inet_pton(AF_INET, host.c_str(), &four) == 1) {
    local = (ntohl(four.s_addr) >> 24) == 127;
    address.host = host;
  } else if (inet_pton(AF_INET6, host.c_str(), &six) == 1) {
    local = IN6_IS_ADDR_LOOPBACK(&six);
    address.host = "[" + host + "]";
  }
  if (address.host.empty()) {
    address.host = host;
    address.host_is_name = true;
  }
  if (!local) {
    address.fault = Fault::kNotLocal;
    address.reason = "refused to use '" + given +
                     "' without encryption and authentication: other machines can reach it. A pool that joins with "
                     "--token-file has both (sheaf token create, beside the scheduler)";
  }
  address.grpc = address.host + ":" + std::to_string(address.port);
  return address;
}

}  // namespace sheaf::scheduler
