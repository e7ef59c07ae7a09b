// The table of functions and of stored forms of this program, as the runtime reads it.
//
// Filled before main by static initialisers, later only from dlopen. Entries never move and never
// go away. Thread-safety: every function may be called from any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "sheaf/detail/abi.h"

namespace sheaf::detail {

// Null when the table has no such entry.
const Function* FunctionAt(std::uint32_t index);
std::uint32_t FunctionCount();

// A process that stands between machines has no table of the program whose tasks it passes on: what DescribeFunction says there
// is a number. Its name, if this program has it; any other text as it is.
std::string NameHere(std::string described);

// The function to run for a task submitted as (index, digest). Throws FunctionNotFoundError when
// the table has no such entry, TypeMismatchError when the entry is another function; both say what is there.
const Function& RequireFunction(std::uint32_t index, std::uint64_t digest);

// "Add" for a mangled name of FunctionTag<&Add>, "main::{lambda}" and the like for others.
std::string ReadableFunctionName(std::string_view mangled);
// "std::string" rather than its fifteen words of template arguments.
std::string ReadableType(std::string_view mangled);

}  // namespace sheaf::detail
