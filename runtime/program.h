// Which program this process runs, as the pool and its workers must know it.
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace sheaf::runtime {

// A program that this process stands for at a pool without running it: what a relay brings from another machine.
struct ForeignProgram {
  std::array<std::uint64_t, 4> identity{};
  int executable = -1, standard_output = -1, standard_error = -1;  // descriptors; the caller keeps them
  std::string description;                                         // as DescribeProgram has it
  std::uint32_t arguments = 0, environment = 0;
};

// The ELF build id of the executable, or a digest of its file where it has none.
std::array<std::uint64_t, 4> ProgramIdentity();

// Working directory, arguments and environment as NUL-terminated strings, one after the other; in the environment also
// what relays need to know of this process (wire::kJobEnvironment). `files`: what it declared to take along.
std::string DescribeProgram(const std::string& files, std::uint32_t* arguments, std::uint32_t* environment);

}  // namespace sheaf::runtime
