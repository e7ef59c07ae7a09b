// Joining and leaving a pool.
//
// Standard library only: users compile this file.
#pragma once

#include "sheaf/detail/abi.h"

namespace sheaf {

// Attaches this process to the pool that the environment variable SHEAF_ADDRESS names (a unix
// socket), or starts a pool of its own that ends with this process. Options that begin with
// --sheaf- are taken out of argv. Tasks on other machines find the files that SHEAF_FILES or
// --sheaf-files=A:B:DIR names, relative to the working directory. Throws InitError with advice.
inline void Init(int& argc, char** argv) { detail::Init(&argc, argv); }
inline void Init() {
  int argc = 0;
  detail::Init(&argc, nullptr);
}
// Leaves the pool. Called at exit too. Refs that are still held become inert: using one is an Error, also after another
// Init. Arrays that are still held stay readable. Inside a task it does nothing: the driver calls it.
inline void Shutdown() noexcept { detail::Shutdown(); }

}  // namespace sheaf
