// The page that a pool writes and every client of its machine reads: who is alive, and a bell for each client.
// Single writer: the pool. Fixed layout; a restarted pool makes a new page with a new epoch.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/limits.h"

namespace sheaf::wire {

inline constexpr std::uint32_t kPageMagic = 0x53485047;  // "SHPG"

enum class ClientState : std::uint32_t { kFree = 0, kStarting = 1, kAlive = 2, kDead = 3 };

struct alignas(64) ClientEntry {
  std::atomic<std::uint32_t> client;  // incarnation << 12 | index; 0 = free
  std::atomic<ClientState> state;     // kDead is final for an incarnation, and set before anybody is told
  std::atomic<std::uint32_t> bell;    // counts up when a message waits on this client's socket; futex word
  std::atomic<std::uint32_t> pid;
};

struct ControlPage {
  std::uint32_t magic, version;
  std::uint64_t epoch;
  std::uint32_t slots, cores;
  std::uint32_t pool_pid, reserved;
  alignas(64) ClientEntry clients[limits::kClientsMax];
};

}  // namespace sheaf::wire
