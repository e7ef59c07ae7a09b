// Connections to the pools of other machines: in the clear on loopback, under TLS with this pool's credentials.
#pragma once

#include <memory>
#include <string>

#include "worker/relay/stream.h"

namespace sheaf::relay {

// `pki`: the directory of this pool's credentials; empty: in the clear. nullptr, with a reason, if the other side is not a
// pool of this cluster. `peer`: its id, if it showed one.
std::unique_ptr<Transport> Secure(Fd socket, bool connects, const std::string& pki, std::string* peer,
                                  std::string* why);

// Connects within two seconds and secures it. nullptr, with a reason that names the address.
std::unique_ptr<Transport> Dial(const std::string& address, const std::string& pki, std::string* peer,
                                std::string* why);

}  // namespace sheaf::relay
