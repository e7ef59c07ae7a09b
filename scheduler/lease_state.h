// What the lease core knows: jobs, their clients, worker processes being started, and ring pairs.
//
// Plain data in ordered containers, so that the same events give the same decisions on every
// machine and standard library. lease_core.h says what it is for.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "base/needs.h"

namespace sheaf::lease {

using Client = std::uint32_t;  // never 0, never reused
using Spawn = std::uint32_t;
using Shape = std::uint32_t;  // what a task needs besides CPUs, numbered by job; 0: nothing
using Time = std::int64_t;    // nanoseconds of any steady clock
inline constexpr Time kNever = std::numeric_limits<Time>::max();

enum class PairState {
  kOpen,
  kClosing,  // the submitter was asked to give it back
  kBroken,   // the submitter is dead: the worker keeps its region until it has forgotten it
};

struct PairView {
  std::uint32_t out_region = 0, in_region = 0;
  PairState state = PairState::kOpen;
};

struct Wish {
  std::uint32_t workers = 0, elsewhere = 0;
  std::uint32_t cpus_milli = 1000;
};

struct ClientView {
  Client job = 0;  // a driver is its own job
  bool worker = false;
  bool blocked = false;             // its task waits inside Get; its slot is somebody else's
  bool stopping = false;            // told to finish and exit
  Shape shape = 0;                  // of a worker: what it may be given
  std::uint32_t places = 0;         // 0: a worker of this machine. Else a relay: tasks that run elsewhere at once
  std::uint32_t cpus_milli = 1000;  // of a relay: what its grant counts for each task
  std::map<Shape, Wish> wishes;     // those that are not nothing
  std::set<std::uint32_t> out_used, in_used;
};

struct SpawnView {
  Client job = 0;
  Shape shape = 0;
  Time deadline = 0;
};

struct JobView {
  bool ended = false;
  std::uint32_t failures = 0;                   // processes in a row that died before they were ready
  Time next_spawn = 0;                          // after a failure: not before; 0: at once
  Time stuck_since = kNever;                    // everybody waits and no worker may be added
  std::uint32_t slots_max = ~std::uint32_t{0};  // by the grant it runs by
};

// A job's workers of one shape.
struct CrewView {
  Needs needs;
  bool fits = true;             // this machine has what they need, were it free
  std::uint32_t target = 0;     // of the last plan
  Time surplus_since = kNever;  // running more workers than its target
};

using CrewKey = std::pair<Client, Shape>;   // job, shape
using PairKey = std::pair<Client, Client>;  // submitter, worker

// A worker process of this machine that the crew has, whatever it does.
inline bool IsOf(const ClientView& client, CrewKey crew) {
  return client.job == crew.first && client.shape == crew.second && client.worker && client.places == 0;
}

}  // namespace sheaf::lease
