// What a pool is started with, and how these choices travel from the supervisor to the pool's own process.
//
// `sheaf pool start` parses flags into PoolOptions and runs the supervisor; the supervisor starts the same
// executable with PoolArguments(); that process parses them back and runs the pool.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/needs.h"

namespace sheaf {

struct PoolOptions {
  int slots = -1;                 // worker processes that may run at once; less than 0: one per core
  std::uint64_t store_bytes = 0;  // budget of shared memory; 0: half of the machine's
  std::string socket_path;        // unix socket to listen on; empty for an embedded pool
  std::string pool_id;            // empty: made up from the process id
  std::string scheduler;          // address of a scheduler to register with; empty: none
  std::string relay_listen;       // host:port where other pools' relays come in; empty: lends nothing
  std::string relay_address;      // what other machines connect to, if it is not where it listens
  std::string pki_directory;      // of this pool's certificate; empty: loopback only, in the clear
  std::string token_file;         // an invitation, for the first time
  int driver_fd = -1;             // embedded: the socket of the one driver; the pool ends with it
  int supervisor_fd = -1;         // set by the supervisor
  Needs has;                      // custom resources and labels of this machine
  int drain_ms = 10'000;          // how long running tasks may take once the pool was asked to stop
};

// `internal-pool` and what follows it on the pool's command line.
std::vector<std::string> PoolArguments(const PoolOptions& options);
// The reverse; `arguments` begins after "internal-pool". False, with a reason, for anything not understood.
bool ParsePoolArguments(const std::vector<std::string>& arguments, PoolOptions* options, std::string* reason);

}  // namespace sheaf
