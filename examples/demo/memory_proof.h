// Room: examples. Shows that workers read one copy: how much memory all processes together gain when each reads all.
#pragma once

#include <vector>

#include "examples/demo/data.h"

namespace demo {

// Lets every worker read every byte of the training data and prints by how much the proportional set size (PSS: each
// page counted once, however many processes map it) of driver, pool and workers grew.
void ProveSharing(const Data& data, std::size_t workers);

}  // namespace demo
