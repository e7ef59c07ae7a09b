// Finding a pool, or starting one that lives as long as this process.
#pragma once

#include <string>

#include "runtime/pool_socket.h"

namespace sheaf::runtime {

struct InitOptions {
  std::string address;  // a pool's unix socket; empty: embedded
  int workers = 0;      // embedded: 0 = one per core
  std::string store;    // embedded: budget, as --store takes it; empty: the pool's default
  std::string has;      // embedded: resources and labels, as base/needs.h writes them
  std::string files;    // to take along to other machines, as ListWorkingFiles has it
};

// From the environment (SHEAF_ADDRESS, SHEAF_WORKERS, SHEAF_STORE, SHEAF_RESOURCES, SHEAF_FILES) and from --sheaf-address=,
// --sheaf-workers=, --sheaf-store=, --sheaf-resources=, --sheaf-files=, which are removed from argv and win. Throws InitError
// for anything else that begins with --sheaf-.
InitOptions TakeInitOptions(int* argc, char** argv);
UniqueFd ConnectToPool(const std::string& address);      // throws InitError
UniqueFd StartEmbeddedPool(const InitOptions& options);  // throws InitError
void AwaitEmbeddedPool() noexcept;                       // reaps it, waiting at most two seconds

}  // namespace sheaf::runtime
