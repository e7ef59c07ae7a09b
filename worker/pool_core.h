// Who is attached to a pool, which segments they own, what that costs, and how the dead are buried. Sans-IO: no
// clock, socket, thread or file; the shell (pool_server) carries out the actions in order.
//
// Invariants (Check): the sum of all entries is the used budget and never above it; an index is free again only after
// everybody who may look at its memory has said goodbye; nobody is told of a death before the page shows it.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/limits.h"
#include "proto/control_page.h"
#include "proto/local_wire.h"

namespace sheaf {

using ClientId = std::uint32_t;  // incarnation << 12 | index
constexpr std::uint32_t IndexOf(ClientId client) { return client & (limits::kClientsMax - 1); }

// Where bytes are to be found: a segment and whose it is.
struct SegmentPlace {
  ClientId client = 0;
  std::uint32_t segment = 0;
  auto operator<=>(const SegmentPlace&) const = default;
};

namespace pool {

struct WriteState {  // into the control page
  ClientId client;
  wire::ClientState state;
};
struct SendGone {
  ClientId to, peer;
  std::int32_t status;
};
struct SendForgotten {
  ClientId to, peer;
};
struct SendHeirs {  // what objects of a dead client would have been
  ClientId to, dead;
  std::vector<wire::HeirEntry> heirs;
};
struct SendSettled {  // the dead client's objects have no more heirs than were named
  ClientId to, dead;
};
struct SendAlone {  // nobody else looks at the dead client's memory any more
  ClientId to, dead;
};
struct SendSegmentGone {
  ClientId to, owner;
  std::uint32_t segment;
};
struct DropSegment {  // close the pool's descriptors
  ClientId owner;
  std::uint32_t segment;
};
struct SendWanted {  // a near half: somebody reads that away segment of its
  ClientId to;
  std::uint32_t segment;
};
struct AnswerOpen {  // lend what lies `at`, by the name that was asked for
  ClientId to;
  std::uint64_t request;
  SegmentPlace at, asked;
};
struct AnswerAway {  // the same with its offer: its bytes are not here
  ClientId to;
  std::uint64_t request;
  SegmentPlace at, asked;
};
struct RefuseOpen {
  ClientId to;
  std::uint64_t request;
  wire::Refusal why;
  std::string text;
};
struct SendHasArrived {
  ClientId to;
  std::uint32_t slot, generation;
};
struct EndWorker {  // its driver is gone: drain it, kill it after a deadline
  ClientId worker;
};
struct JobOver {  // no client of the job is left
  ClientId driver;
};
using Action =
    std::variant<WriteState, SendGone, SendForgotten, SendHeirs, SendSettled, SendAlone, SendSegmentGone, DropSegment,
                 SendWanted, AnswerOpen, AnswerAway, RefuseOpen, SendHasArrived, EndWorker, JobOver>;

}  // namespace pool

class PoolCore {
 public:
  struct Config {
    std::uint32_t pairs = 8;  // regions of each direction in a control segment
    std::uint64_t budget_bytes = 0;
    std::uint64_t first_arena_bytes = 256 * 1024;
    std::uint32_t clients_max = limits::kClientsMax - 1;
  };
  using Actions = std::vector<pool::Action>;
  // What an operation answers: kNone, or why not.
  struct Verdict {
    wire::Refusal why = wire::Refusal::kNone;
    std::string text;
    explicit operator bool() const { return why == wire::Refusal::kNone; }
  };
  struct Segment {
    wire::SegmentKind kind = wire::SegmentKind::kLarge;
    std::uint64_t bytes = 0;
    bool made = false;    // populated and handed to its writer
    bool sealed = false;  // others may have it
    std::set<ClientId> readers;
    std::set<std::pair<ClientId, SegmentPlace>> lent_as = {};  // readers that know it by a name it stands in for
    bool given_up = false;  // an away one that nobody fills any more, while its memory was still being made
  };
  // A segment that lies on another machine, or did at first (docs/decisions/0012): its number, and what became of it.
  struct AwaySegment {
    enum class State {
      kAway,
      kFilling,  // it has memory, its owner brings the bytes
      kHere,     // as any segment
      kLost,     // its owner died before
      kClaimed,  // `claimed_by` will say what stands in for it
      kRemade,   // `to` stands in for it
      kFailed,   // nothing does, and `why`
    };
    struct Waiter {
      ClientId reader;
      std::uint64_t request;
      SegmentPlace asked;  // may be one that this stands in for
    };
    std::uint64_t bytes = 0;
    std::array<std::uint8_t, wire::kOfferBytes> offer{};
    State state = State::kAway;
    bool wanted = false;  // its owner knows that somebody reads it
    ClientId claimed_by = 0;
    SegmentPlace to;
    std::string why;
    std::vector<Waiter> waiters;
  };
  struct Client {
    ClientId id = 0;
    ClientId job = 0;  // its driver
    wire::Role role = wire::Role::kDriver;
    wire::ClientState state = wire::ClientState::kStarting;
    bool left = false;  // drivers: said goodbye or was cut off, the process may still run
    std::uint64_t build[4] = {};
    std::map<std::uint32_t, Segment> segments;
    std::map<std::uint32_t, AwaySegment> away;  // relays: by number, from limits::kAwayFirst on
    std::uint32_t next_segment = 0;
    std::uint64_t bytes = 0;
    std::set<ClientId> waiting;  // of a dead client: who has not acknowledged yet
    ClientId alone = 0;          // of these, the one living client, which was told so; 0: none
    // Of a dead client (docs/decisions/0011): who may still name heirs, and those that were named, by slot and generation.
    std::set<ClientId> untold;
    std::map<std::pair<std::uint32_t, std::uint32_t>, wire::HeirEntry> heirs;
    std::set<ClientId> heirs_with;  // whose objects they are
  };

  explicit PoolCore(const Config& config);

  // ---- attach: the three first segments are accounted for (0 control, 1 slab, 2 arena), state kStarting
  Verdict AddDriver(const std::uint64_t build[4], ClientId* client, Actions* actions);
  Verdict AddWorker(ClientId job, const std::uint64_t build[4], ClientId* client, Actions* actions);
  Verdict AddRelay(ClientId job, ClientId* client, Actions* actions);
  // The first segments are mapped: seal them, then the client may be shown to others.
  bool Attached(ClientId client, Actions* actions);

  // ---- memory
  Verdict MakeSegment(ClientId owner, wire::SegmentKind kind, std::uint64_t bytes, std::uint32_t* segment);
  bool SegmentMade(ClientId owner, std::uint32_t segment, bool ok);  // false: the owner is gone, drop the descriptor
  // True: seal it now, then act.
  bool SegmentMapped(ClientId owner, std::uint32_t segment, Actions* actions);
  Verdict OpenSegment(ClientId reader, ClientId owner, std::uint32_t segment);
  bool DropSegment(ClientId owner, std::uint32_t segment, Actions* actions);

  // ---- segments that lie elsewhere (pool_core_away.cc). False: nonsense
  bool AddAway(ClientId owner, const std::vector<wire::AwayEntry>& entries);
  Verdict FillAway(ClientId owner, std::uint32_t segment, wire::SegmentKind kind, std::uint64_t bytes);
  bool NotFetched(ClientId owner, std::uint32_t segment, wire::Refusal why, const std::string& text, Actions* actions);
  bool Arrived(ClientId relay, ClientId submitter, std::uint32_t slot, std::uint32_t generation, Actions* actions);
  // Answered by an action, at once or, unless `now`, when its bytes are here.
  void OpenAway(ClientId reader, SegmentPlace asked, bool now, std::uint64_t request, Actions* actions);
  void Fetch(ClientId client, SegmentPlace asked, Actions* actions);
  // `client` will say what stands in for these of a dead one; that it is `to`, or nothing if that names no client.
  bool Remake(ClientId client, ClientId dead, const std::vector<std::uint32_t>& segments);
  void Remade(ClientId client, SegmentPlace lost, SegmentPlace to, const std::string& text, Actions* actions);

  // ---- deaths
  // The process is known to be gone. For a driver also ends its job.
  void Died(ClientId client, std::int32_t status, Actions* actions);
  // A driver said goodbye or was cut off: its job ends, its entry goes when the last worker is gone.
  void DriverLeft(ClientId driver, Actions* actions);
  bool Acknowledge(ClientId client, ClientId dead, Actions* actions);  // false: nonsense

  // `client` says what objects of a dead one will be; that it has said everything (pool_core_heirs.cc). False: nonsense.
  bool NameHeirs(ClientId client, ClientId dead, const std::vector<wire::HeirEntry>& heirs, Actions* actions);
  bool HeirsTold(ClientId client, ClientId dead, Actions* actions);

  const Client* Find(ClientId client) const;
  const std::map<ClientId, Client>& clients() const { return clients_; }
  std::uint64_t used_bytes() const { return used_; }
  std::uint64_t budget_bytes() const { return config_.budget_bytes; }
  const Config& config() const { return config_; }
  std::uint64_t FirstBytes() const;  // of the three first segments together
  void Check() const;                // aborts where an invariant does not hold

 private:
  Verdict Add(wire::Role role, ClientId job, const std::uint64_t build[4], ClientId* client, Actions* actions);
  Client* FindMutable(ClientId client);
  Verdict NoMemory(std::uint64_t bytes) const;
  void EndJob(ClientId driver, Actions* actions);
  void Settle(ClientId job, Actions* actions);
  void Forget(ClientId client, Actions* actions);
  void TellWhoIsAlone(ClientId job, Actions* actions);
  void TellNewcomer(const Client& client, Actions* actions) const;
  void SettleHeirs(Client& dead, ClientId told, Actions* actions);
  void SettleHeirsOfAll(ClientId gone, Actions* actions);
  Verdict Lend(ClientId reader, SegmentPlace at, SegmentPlace asked);
  void EraseMemory(Client& owner, std::uint32_t segment, Actions* actions);
  Verdict Follow(ClientId job, SegmentPlace* at, AwaySegment** away);
  void Seek(const AwaySegment::Waiter& waiter, SegmentPlace at, bool now, Actions* actions);
  void AnswerWaiters(SegmentPlace at, AwaySegment& away, Actions* actions);
  static void WantAway(SegmentPlace at, AwaySegment& away, Actions* actions);
  static void RefuseWaiters(AwaySegment& away, wire::Refusal why, const std::string& text, Actions* actions);
  static void FailAway(AwaySegment& away, const std::string& why, Actions* actions);
  bool DropAway(Client& owner, std::uint32_t segment, Actions* actions);
  void LoseAway(Client& dead, Actions* actions);
  void SettleAway(Client& dead, Actions* actions) const;
  void LeaveAway(const Client& gone, Actions* actions);
  void ForgetAway(Client& forgotten, Actions* actions);
  void CheckAway(const Client& client) const;
  bool IsAwaitedAsHeir(ClientId client, const std::set<ClientId>& dead, const std::set<ClientId>& held) const;

  const Config config_;
  std::map<ClientId, Client> clients_;
  std::set<std::uint32_t> free_;  // indices
  std::vector<std::uint32_t> incarnations_;
  std::uint64_t used_ = 0;
};

}  // namespace sheaf
