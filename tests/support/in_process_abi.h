// Controls of the in-process stand-in for the runtime; see in_process_abi.cc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "sheaf/detail/abi.h"

namespace sheaf::in_process {

// While deferred, submitted tasks wait; RunNext runs the oldest, or the `index`-th that waits.
void Defer(bool deferred);
void RunNext(std::size_t index = 0);
std::size_t WaitingTasks();

// What is alive: blocks of memory and stored objects. Both are 0 when no handle is left.
std::size_t LiveBlocks();
std::size_t LiveObjects();

// The last Submit.
struct LastSubmit {
  std::string name;
  double cpus = 0;
  int retries = 0;
  std::size_t dependencies = 0;
  std::size_t payload_bytes = 0;
};
const LastSubmit& Last();

// An object whose payload is what the test says, as if another program had written it.
detail::RefCore MakeObject(std::span<const std::byte> payload);
// The payload of a ready object.
std::vector<std::byte> PayloadOf(const detail::RefCore& ref);
// An object that holds an error of the runtime.
detail::RefCore MakeFailed(std::string_view kind, std::string_view message, const detail::TaskIdentity& task);

}  // namespace sheaf::in_process
