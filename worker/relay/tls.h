// The stream between machines: TLS 1.3, both sides with certificates of the cluster, each checked for who it says it is.
#pragma once

#include <memory>
#include <string>

#include "scheduler/pki.h"
#include "worker/relay/stream.h"

namespace sheaf::relay {

// Does the handshake; nullptr, with a reason, unless the peer is a pool of the same cluster. `peer`: its id.
std::unique_ptr<Transport> TlsTransport(Fd socket, bool connects, const scheduler::Credentials& own, std::string* peer,
                                        std::string* why);

}  // namespace sheaf::relay
