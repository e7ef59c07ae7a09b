// "host:port" and "[v6]:port", taken apart.
#pragma once

#include <string>

namespace sheaf {

// The host without brackets. False: there is no port, or no host.
inline bool SplitAddress(const std::string& address, std::string* host, std::string* port) {
  const std::size_t colon = address.rfind(':');
  if (colon == std::string::npos || colon == 0 || colon + 1 == address.size()) return false;
  *host = address.substr(0, colon);
  *port = address.substr(colon + 1);
  if (host->size() > 2 && host->front() == '[' && host->back() == ']') *host = host->substr(1, host->size() - 2);
  return true;
}

}  // namespace sheaf
