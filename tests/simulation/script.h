// What a task does, drawn from its seed, and the value that it must come to.
#pragma once

#include <memory>
#include <vector>

#include "tests/simulation/world.h"

namespace sheaf::simulation {

struct Op;
using Plan = std::shared_ptr<const std::vector<Op>>;  // nullptr: drawn from the seed

struct Op {
  enum Kind { kCompute, kSubmit, kGetChild, kGetRef, kReturnChild } kind = kCompute;
  Time time = 0;
  std::uint64_t seed = 0;                     // of a child
  std::uint32_t index = 0;                    // of a child or a ref
  std::vector<std::uint32_t> awaits, passes;  // earlier children
  bool passes_own_refs = false;               // the child gets what this task got
  Plan plan;                                  // of a child
};

std::vector<Op> ScriptOf(const Plan& plan, std::uint64_t seed, int depth, std::size_t refs);
std::uint64_t Mix(std::uint64_t value);
// `dependencies` and `refs`: the values of what it was given.
std::uint64_t ExpectedValue(const Plan& plan, std::uint64_t seed, int depth,
                            const std::vector<std::uint64_t>& dependencies, const std::vector<std::uint64_t>& refs);

}  // namespace sheaf::simulation
