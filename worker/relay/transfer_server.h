// The process that lets other machines read what the halves of relays of this one offer. docs/decisions/0009.
//
// It maps what is offered read-only, and can read nothing else. A thread for each connection; one mutex over the offers and the
// directories, never held during I/O on the network. It ends with its pool.
#pragma once

#include <string>

namespace sheaf::relay {

struct TransferServerOptions {
  int listener = -1;    // TCP, listening
  int pool = -1;        // closed by the pool's end
  std::string path;     // unix socket for the halves of this machine
  std::string address;  // where other machines reach the listener
  std::string pki;      // empty: loopback, in the clear
};

int ServeTransfers(const TransferServerOptions& options);  // the process's exit code

}  // namespace sheaf::relay
