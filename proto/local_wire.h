// The unix socket between a pool and the clients of its machine, and between a pool and its supervisor.
//
// SOCK_SEQPACKET: one message a packet, a fixed struct (some with a tail of bytes), file descriptors beside it. Nothing
// of this is on the way of a task: it carries attach, leases, memory and deaths. Whatever a client sends is checked:
// wrong kind, size, index or state costs it the connection, never the pool.
#pragma once

#include <cstdint>

#include "base/limits.h"

namespace sheaf::wire {

inline constexpr std::uint32_t kVersion = 6;

enum class Kind : std::uint32_t {
  // client -> pool
  kAttach = 1,         // Attach, tail = job description (driver only); driver sends fds: [executable, stdout, stderr]
  kAttached = 2,       // Header: control segment, slab and arena are mapped and the header is written
  kMakeSegment = 3,    // MakeSegment -> kSegmentMade (fd) or kRefused
  kSegmentMapped = 4,  // SegmentName: the writer has mapped it; the pool seals it now. No answer
  kOpenSegment = 5,    // SegmentName -> kSegmentOpened (fd, read-only) or kRefused
  kDropSegment = 6,    // SegmentName: own segment, no longer used by anybody. No answer
  kWant = 7,           // Want: how many workers this client could use now (level, not edge)
  kReturnWorker = 8,   // PairName: an idle lease given back
  kBlocked = 9,        // Blocked: the executor waits inside Get (1) or runs again (0)
  kGoneAck = 10,       // PeerName: nothing of that dead client is in use here any more
  kStartCall = 11,     // StartCall, tail = stored arguments: run in every worker of the job before its first task
  kStatus = 12,        // Header -> kStatusReply with a JSON tail; needs no attach
  kStop = 13,          // Header: drain and exit; needs no attach (same uid) -> kDone
  kDetach = 14,        // Header: orderly goodbye
  kAdmit = 15,         // Header, tail = ticket: a relay's far half asks whether it may serve -> kDone or kRefused
  kParked = 16,        // Parked, a relay's near half: nothing is away, its grant may go back, it claims nothing
  kAsks = 17,          // Header, a parked near half: tasks wait in its lanes
  kReleased = 18,      // Header, a relay's far half: its grant went back, it submits nothing
  kShape = 19,         // Shape, tail = text of needs (base/needs.h): the next shape of this client's tasks, from 1 on
  kHeirs = 20,  // PeerName, tail = HeirEntry...: what that dead client's objects would have been (docs/decisions/0011)
  kHeirsTold = 21,  // PeerName: of that dead client nothing more is inherited by us
  // docs/decisions/0012. Of a relay's near half:
  kAway = 22,        // Bare, tail = AwayEntry...: its segments of these numbers lie on another machine
  kNotFetched = 23,  // Refused (shape: the segment), tail = text: the bytes of an away segment could not be brought
  kArrived = 24,     // Arrived: the value of that client's object lies here now
  // Of any client:
  kFetch = 25,  // SegmentName: an away segment will be read soon. No answer
  kRemake =
      26,  // PeerName, tail = u32...: of these away segments of a dead client we shall say what stands in for them
  kRemade = 27,  // Remade, tail = text if there is nothing
  kBegun = 28,   // Begun, a parked near half: it goes on, by a credit that the other pool has taken
  // pool -> client
  kWelcome = 32,        // Welcome, fds: [page, control, slab 0, arena]
  kRefused = 33,        // Refused, tail = text: what was wrong and what to do
  kSegmentMade = 34,    // SegmentName, fd: read-write, not yet sealed
  kSegmentOpened = 35,  // SegmentName, fd: read-only
  kOpenOut = 36,        // OpenPair, fd: the worker's control segment. To the submitter: push to it from now on
  kOpenIn = 37,         // OpenPair, fd: the submitter's control segment. To the worker: poll it from now on
  kCloseOut = 38,       // PairName: to the submitter: stop pushing, recall, then kReturnWorker
  kClosed = 39,         // PairName: to both, once the lease is over: the regions are free again
  kGone = 40,           // Gone: that client is dead; its memory stays until you acknowledge
  kForgotten = 41,      // PeerName: nobody uses the dead client's data: unmap it; borrows it made are void
  kSegmentGone = 42,    // SegmentName: its owner dropped it: unmap
  kRunStart = 43,       // StartCall with tail: to a worker, before its first kOpenIn
  kDrain = 44,          // Drain: to a worker: finish what is claimed and exit
  kStatusReply = 45,    // Header, tail = JSON
  kDone = 46,           // Header
  kPark = 47,           // Park, to a near half: if nothing is away
  kRenew =
      48,  // Header, tail = ticket: to a parked near half: go on, by this grant; or a credit, worker/relay/credit.h
  kHeirsAre = 49,     // PeerName, tail = HeirEntry...
  kSettled = 50,      // PeerName: that dead client's objects have no heirs but those that were named
  kSegmentAway = 52,  // SegmentName, tail = the offer: answers an open that does not wait
  kWanted = 53,       // SegmentName: to a near half: somebody reads that away segment
  kHasArrived = 54,   // Arrived, to the submitter
  kShort = 56,        // Header: the store is full: give back what you keep for later
  kAlone = 55,        // PeerName: nobody else looks at that dead client's memory: what it was lent may go
  kNotice = 51,       // Header, tail = text: to a driver, for whoever runs it: it says it on its stderr
  // pool -> supervisor, supervisor -> pool
  kSpawn =
      64,  // Spawn, tail = cwd \0 argv... \0 env... (count in the struct), fds: [executable, stdout, stderr, worker socket]
  kSpawned = 65,  // Spawned: pid, or errno
  kExited = 66,   // Exited
  kKill = 67,     // Exited.pid: SIGKILL it (a child of the supervisor only)
};

// kRelay: a worker that runs nothing here, but sends what it claims to another pool (docs/decisions/0008).
enum class Role : std::uint32_t { kDriver = 1, kWorker = 2, kRelay = 3 };
enum class SegmentKind : std::uint32_t { kControl = 0, kSlab = 1, kArena = 2, kLarge = 3 };
enum class Refusal : std::uint32_t {
  kNone = 0,
  kOutOfMemory = 1,  // the store's budget is spent
  kGone = 2,         // no such segment or client any more
  kLimit = 3,        // a bound of limits.h
  kInvalid = 4,      // the message makes no sense
  kOtherVersion = 5,
  kInfeasible = 6,  // asks for more than the pool has
  kSpawnFailed = 7,
  kStopping = 8,
  kLater = 9,  // an away segment whose machine is gone, and which may be made again
};

struct Header {
  Kind kind;
  std::uint32_t size;     // of the whole packet
  std::uint64_t request;  // copied into the answer; 0 where none is expected
};
struct Bare {  // a message that is nothing but its header
  Header header;
};
struct Attach {
  Header header;
  std::uint32_t version;
  Role role;
  std::uint32_t pid;
  std::uint32_t spawn;     // workers: the number given to them when they were started
  std::uint64_t build[4];  // first bytes of the program's build id: a worker must match its job
  std::uint32_t argument_count, environment_count;  // driver: strings in the tail, after cwd
};
struct Welcome {
  Header header;
  std::uint32_t client;  // incarnation << 12 | index
  std::uint32_t slots, cores;
  std::uint32_t out_regions, in_regions;
  std::uint32_t slab_segment, arena_segment;  // indices of the fds 2 and 3; the control segment is index 0
  std::uint64_t control_bytes, slab_bytes, arena_bytes, page_bytes;
  std::uint64_t budget_bytes;
  std::uint32_t clustered;  // 1: what does not fit here may run on other pools
  std::uint32_t reserved;
};
struct Refused {
  Header header;
  Refusal why;
  std::uint32_t shape;  // of a Want
};
struct MakeSegment {
  Header header;
  SegmentKind kind;
  std::uint32_t segment;  // an away number of the sender's that gets memory; 0: a new one
  std::uint64_t bytes;
};
struct SegmentName {
  Header header;
  std::uint32_t client, segment;
  SegmentKind kind;
  std::uint32_t now;  // of kOpenSegment, 1: answer at once, and with the offer if it is away
  std::uint64_t bytes;
};
inline constexpr std::size_t kOfferBytes = 128;  // worker/relay/transfer_frame.h, BlockOffer: nothing to the pool
struct AwayEntry {
  std::uint32_t segment, reserved;
  std::uint64_t bytes;
  std::uint8_t offer[kOfferBytes];
};
inline constexpr std::size_t kAwayEntriesMax = 256;  // in one message
struct Arrived {
  Header header;
  std::uint32_t submitter, slot, generation, reserved;
};
// What stands in for an away segment of a dead client: the whole of `in`, from its start.
struct Remade {
  Header header;
  std::uint32_t dead, segment;
  std::uint32_t client, in;  // client 0: nothing does
};
struct Want {
  Header header;
  std::uint32_t workers;        // 0: none any more
  std::uint32_t cpus_milli;     // of the widest task waiting, in thousandths
  std::uint32_t elsewhere = 0;  // how many more it could use on other pools
  std::uint32_t shape = 0;      // what is waiting needs so; as this client numbers it, 0: nothing but CPUs
};
struct Shape {
  Header header;
  std::uint32_t shape, reserved;
};
struct PairName {
  Header header;
  std::uint32_t peer;
  std::uint32_t own_region, peer_region;
  std::uint32_t reserved;
};
struct OpenPair {
  Header header;
  std::uint32_t peer;                     // client id
  std::uint32_t own_region, peer_region;  // out region of the submitter, in region of the worker
  std::uint32_t peer_out_regions;         // geometry of the peer's control segment
  std::uint64_t peer_control_bytes;
  std::uint32_t nonce;       // never 0, never twice: both halves carry it, see segment_layout.h
  std::uint32_t places;      // 0: a worker. Else a relay: how many tasks the other pool runs for it at once
  std::uint32_t cpus_milli;  // of the widest task that may be pushed
  std::uint32_t shape;       // of the tasks that may be pushed, as the submitter numbers it
};
struct Park {
  Header header;
  std::uint32_t gently;  // not if values of its lie on the other machine; else these come first
  std::uint32_t reserved;
};
struct Blocked {
  Header header;
  std::uint32_t blocked, reserved;
};
struct Drain {
  Header header;
  std::uint32_t job_over, reserved;  // 1: nobody will read anything any more
};
struct PeerName {
  Header header;
  std::uint32_t peer, reserved;
};
// The dead client's object at `slot` will be `heir`.
struct HeirEntry {
  std::uint32_t slot, generation;
  std::uint32_t heir_client, heir_slot, heir_generation;
};
inline constexpr std::size_t kHeirEntriesMax = 3000;  // in one message
struct Parked {
  Header header;
  std::uint64_t bytes;  // of the job that lie on the other machine
};
struct Begun {
  Header header;
  std::uint64_t grant;
};
struct Gone {
  Header header;
  std::uint32_t peer;
  std::int32_t status;  // as waitpid gives it; 0 where unknown
};
struct StartCall {
  Header header;
  std::uint32_t function, marked;  // 1: behind the arguments stands where they name memory and objects
  std::uint64_t digest;
};
struct Spawn {
  Header header;
  std::uint32_t spawn;
  std::uint32_t argument_count, environment_count;
  std::uint32_t relay;  // 1: the supervisor's own executable is run, and the first descriptor becomes its number 4
};
struct Spawned {
  Header header;
  std::uint32_t spawn;
  std::int32_t pid;    // > 0, or 0
  std::int32_t error;  // errno of the failure
  std::uint32_t reserved;
};
struct Exited {
  Header header;
  std::int32_t pid;
  std::int32_t status;
};

// A worker finds its socket here; a process is a worker only if this descriptor is a connected SOCK_SEQPACKET socket.
inline constexpr int kWorkerSocketFd = 3;
inline constexpr char kWorkerEnvironment[] = "SHEAF_WORKER";  // value: spawn number
// What a driver tells of itself in the environment of its job's description, for relays only: no worker sees it.
inline constexpr char kJobEnvironment[] = "SHEAF_JOB_";
inline constexpr char kLibrariesEnvironment[] = "SHEAF_JOB_LIBRARIES";  // as runtime/libraries.h has it
inline constexpr char kFilesEnvironment[] = "SHEAF_JOB_FILES";          // declared: as runtime/working_files.h has it
inline constexpr char kNeedsEnvironment[] =
    "SHEAF_JOB_NEEDS";  // of the tasks of one relay, besides CPUs (base/needs.h)
inline constexpr char kLimitsEnvironment[] = "SHEAF_JOB_LIMITS";  // soft ones: as base/resource_limits.h has them
// The supervisor takes this out of a worker's environment and applies it: to the workers of a twin, in the same text.
inline constexpr char kWorkerNeedsEnvironment[] = "SHEAF_WORKER_NEEDS";  // what it holds besides a CPU (base/needs.h)
inline constexpr char kWorkerLimitsEnvironment[] = "SHEAF_WORKER_LIMITS";

}  // namespace sheaf::wire
