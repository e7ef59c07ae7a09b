// One simulated run: from an empty pool to the end of all jobs, with the faults that the options
// ask for.
#pragma once

#include "tests/simulation/model.h"

namespace sheaf::simulation {

struct Outcome {
  std::string failure;  // empty: everything was as it should be
  std::string trace;
  std::uint64_t digest = 0, steps = 0, delivered = 0, errors = 0;
  Time ended = 0;
};

Outcome RunOnce(const Options& options);
// Options drawn from the seed: slots, drivers, tasks, kills.
Options DrawOptions(std::uint64_t seed);

}  // namespace sheaf::simulation
