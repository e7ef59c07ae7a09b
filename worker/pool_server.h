// The pool daemon's shell: one thread, one epoll. Receives packets, deaths and timers, feeds them to the cores
// (PoolCore: clients, memory, deaths; LeaseCore: who works for whom) and carries out what they decide.
//
//   pool_server.cc    the loop, connections, timers, the end
//   pool_clients.cc   what clients say: attach, calls, goodbye
//   pool_memory.cc    segments made, sealed and lent
//   pool_leases.cc    what the lease core decides: spawns, pairs; the supervisor's reports
//   pool_relays.cc    grants, and the relays that use them, both ways
//   pool_relay_ends.cc  relays that are parked, or could not be started
//   pool_status.cc    what the pool shows of itself
//   pool_shortage.cc  the store is full: memory that is kept for later is asked for
//   pool_waits.cc     programs that wait are told why
//
// Whatever a client sends costs at most its own connection. Nothing here blocks: sends queue, big memory is populated on
// SegmentMaker's thread.
#pragma once

#include <sys/types.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/packet_socket.h"
#include "object_store/segment_layout.h"
#include "scheduler/lease_core.h"
#include "worker/client_link.h"
#include "worker/page_writer.h"
#include "worker/pool_core.h"
#include "worker/pool_main.h"
#include "worker/pool_messages.h"
#include "worker/pool_options.h"
#include "worker/pool_view.h"
#include "worker/segment_maker.h"
#include "worker/wait_watch.h"

namespace sheaf {

class PoolServer {
 public:
  explicit PoolServer(const PoolOptions& options);
  ~PoolServer();
  PoolServer(const PoolServer&) = delete;
  PoolServer& operator=(const PoolServer&) = delete;

  bool Start(std::string* reason);
  int Run();  // until the end; the process's exit code

  PoolView View() const;  // on the pool's thread only
  // Called on the pool's thread at least every `kViewInterval`; for the scheduler's link.
  void set_on_view(std::function<void(const PoolView&)> f) { on_view_ = std::move(f); }
  void set_neighbours(Neighbours* neighbours) { neighbours_ = neighbours; }

 private:
  using Now = std::int64_t;  // nanoseconds of the monotonic clock
  static constexpr Now kMilli = 1'000'000;
  static constexpr Now kAttachMax = 30'000 * kMilli;  // a connection that does not attach
  static constexpr Now kDrainJob = 1'000 * kMilli;    // a worker whose driver said goodbye
  static constexpr Now kDrainOrphan = 200 * kMilli;   // a worker whose driver died
  static constexpr Now kViewInterval = 500 * kMilli;
  static constexpr Now kQuiet = 5 * kMilli;  // nothing to do for so long: prepare
  static constexpr std::size_t kPreparedMax = 8;
  static constexpr int kHearingMax = 16;
  static constexpr std::uint32_t kFirstRelaySpawn = 0x80000000;  // the lease core numbers workers from 1
  static constexpr std::size_t kRelaysArrivingMax = 64;          // not yet admitted
  static constexpr Now kRelayIdle = 1'000 * kMilli;              // a grant that its job has not wanted for so long
  static constexpr Now kRelayIdleInTheWay = 20 * kMilli;         // the same, while other tasks of the job have none
  static constexpr Now kNamesLast = 5'000 * kMilli;     // how long a parked relay's other half keeps what it has
  static constexpr Now kParkedMax = 10'000 * kMilli;    // then its processes end, too
  static constexpr Now kReleasedMax = 30'000 * kMilli;  // the same, if the other pool does not see to it
  static constexpr std::size_t kStartCallsMax = 64;
  static constexpr std::uint64_t kTagListener = 1, kTagSupervisor = 2, kTagMaker = 3, kTagRelays = 4, kTagNews = 5;
  static constexpr std::uint64_t kTagConnection = 1ull << 60, kTagProcess = 2ull << 60, kTagMask = 15ull << 60;

  struct Connection {
    explicit Connection(Fd socket) : link(std::move(socket)) {}
    std::uint64_t number = 0;
    ClientLink link;
    pid_t pid = 0;            // of the peer: told by the kernel, or by the supervisor for workers
    std::uint32_t spawn = 0;  // workers: which start this is
    ClientId client = 0;      // 0: not attached
    bool attached = false;    // said kAttached
    Now opened = 0;
    bool closed = false;  // to be erased at the end of this turn
    bool writable_watched = false;
    // An attach, and its descriptors, that came before the supervisor named the process's pid.
    std::optional<std::pair<ClientMessage, std::vector<Fd>>> early;
    std::uint64_t detach_request = 0;
    std::vector<lease::Shape> shapes{0};  // the job's number for each that the client has named
    std::uint32_t OwnNumberOf(lease::Shape shape) const {
      return static_cast<std::uint32_t>(std::find(shapes.begin(), shapes.end(), shape) - shapes.begin());
    }
  };
  struct SegmentFds {
    Fd writable;  // until sealed
    Fd readable;
  };
  struct Memory {
    std::map<std::uint32_t, SegmentFds> segments;
    const store::ControlHeader* header = nullptr;
    std::uint64_t connection = 0;
    pid_t pid = 0;
    Fd process;               // drivers: a pidfd, readable when the process is gone
    std::uint32_t spawn = 0;  // workers
    Now kill_at = INT64_MAX;
    bool draining = false, over = false;  // told so; and that nobody reads what it has
  };
  struct RelayTrouble {  // relays that failed before they stood, one after the other
    std::uint32_t failures = 0;
    Now since = 0, again = 0;  // not before
    std::string lender;        // of the last one
  };
  static constexpr Now kRelayTroubleMax = 60'000 * kMilli;
  static constexpr char kCannotTravel[] =
      "it would have to run on another machine, where this job cannot go: what it should bring is not there any more "
      "(its error output says what)";
  struct Job {
    JobDescription description;
    Fd executable, standard_output, standard_error;
    std::string program;
    std::vector<Needs> shapes{{}};                    // by the job's number; 0 needs nothing
    std::vector<std::vector<std::byte>> start_calls;  // whole kRunStart packets
    std::uint64_t executed_before = 0;                // by workers that are gone
    bool over = false;
    bool driver_died = false;
    std::uint64_t twin_of = 0;  // the grant by which another pool runs it here; 0: a job of this machine
    std::map<lease::Shape, Now> relays_idle_since, relays_beyond_since;
    std::size_t turn = 0;     // whose relay is asked first to park
    bool stays_here = false;  // it lacks what it should bring to other machines
    std::map<lease::Shape, RelayTrouble> relay_trouble;
    WaitWatch wait;
    bool MustWait(lease::Shape shape, Now now) const {  // before another relay is tried
      const auto trouble = relay_trouble.find(shape);
      return trouble != relay_trouble.end() && trouble->second.again > now;
    }
  };
  struct Spawn {
    ClientId job = 0;
    std::uint64_t connection = 0;
    pid_t pid = 0;
    ClientId client = 0;
    bool kill = false;
    enum class Kind { kWorker, kNear, kFar, kTransfers } kind = Kind::kWorker;
    std::uint64_t grant = 0;                  // relays
    std::uint32_t slots = ~std::uint32_t{0};  // far halves: of the grant
    std::uint32_t cpus_milli = 0;             // of each
    Now parked_since = INT64_MAX;             // far halves: the grant went back, and another may come
    std::string refused;                      // why its attach was refused
  };
  struct Making {
    ClientId owner;
    std::uint32_t segment;
    std::uint64_t request;
  };
  struct Relay {  // near halves, by grant
    scheduler::GrantInfo grant;
    std::uint32_t spawn = 0;
    ClientId client = 0;  // 0: it does not stand yet
    bool leaving = false;
    Now parked_since = INT64_MAX;  // the grant went back; the process stays for the next one
    bool asks = false;             // parked, and tasks wait in its lanes
    std::uint32_t beside = 0;      // slots that the job had elsewhere when it began to ask
    scheduler::GrantInfo credit;   // the latest that its near half was given
    bool credit_over = true;
    bool unconfirmed = false;       // begun by a credit, and the scheduler has not answered to that yet
    std::uint64_t bytes_there = 0;  // of the job, on the other machine, when it was parked
  };
  struct FirstSet {
    Fd control, slab, arena;
  };

  // ---- pool_server.cc
  bool Listen(std::string* reason);
  std::uint64_t AddConnection(Fd socket, pid_t pid);
  Connection* FindConnection(std::uint64_t number);
  Connection* ConnectionOf(ClientId client);
  void AcceptAll();
  bool ReadConnection(std::uint64_t number);  // whether more may lie in the socket
  void ReadAll(std::uint64_t number);         // what lies in the socket, a few hundred packets at most
  void ReadToTheEnd(std::uint64_t number);    // of a process that has died: nothing is added
  void WatchWritable(Connection& connection);
  void Cut(Connection& connection, std::string_view why);
  void Closed(Connection& connection);
  void EraseClosed();
  void Timers();
  Now NextDeadline() const;
  void BeginStop(bool at_once);
  bool Watch(int fd, std::uint32_t events, std::uint64_t tag);
  void SendPacketTo(Connection& connection, std::span<const std::byte> bytes, std::span<const int> fds);
  // Fills in the header and sends; a client that does not read what is sent is cut, one that is gone is for its reader to find.
  template <typename T>
  void Send(Connection& connection, wire::Kind kind, std::uint64_t request, T message, std::span<const int> fds = {},
            std::string_view tail = {});
  void Refuse(Connection& connection, std::uint64_t request, wire::Refusal why, std::string_view text,
              std::uint32_t shape = 0);

  // ---- pool_clients.cc
  void Handle(Connection& connection, ClientMessage message, std::vector<Fd> fds);
  void Attach(Connection& connection, std::uint64_t request, AttachMessage& message, std::vector<Fd> fds);
  void Attached(Connection& connection);
  bool StartCall(Connection& connection, const StartCallMessage& message);
  void Apply(const PoolCore::Actions& actions);
  void DriverGone(ClientId driver, bool died);
  void ClientDied(ClientId client, std::int32_t status);
  void DrainWorker(ClientId worker, Now deadline, bool job_over);  // `job_over`: nobody reads what it has
  void DropMemory(ClientId client);
  void JobOver(ClientId driver);

  // ---- pool_memory.cc
  void MakeSegment(Connection& connection, std::uint64_t request, const MakeSegmentMessage& message);
  void SegmentMapped(Connection& connection, std::uint32_t segment);
  void OpenSegment(Connection& connection, std::uint64_t request, const OpenSegmentMessage& message);
  void HearOwner(ClientId client, SegmentPlace name);
  void AnswerOpen(const pool::AnswerOpen& answer);
  void AnswerAway(const pool::AnswerAway& answer);
  void Fetch(Connection& connection, const FetchMessage& message);
  void Remade(Connection& connection, const RemadeMessage& message);
  void Finish(const Making& making, Fd fd, int error);
  void TakeMade();
  bool Publish(SegmentFds& fds);
  bool MakeFirstSet(FirstSet* set, int* error) const;
  bool TakeFirstSet(FirstSet* set, int* error);
  void PrepareSets(bool quiet);
  static wire::Refusal WhyNoMemory(int error);
  static std::string TextNoMemory(int error);

  // ---- pool_leases.cc
  std::unique_ptr<lease::LeaseCore> MakeLeases(std::uint32_t pairs) const;
  void Tell(const lease::Event& event);
  void Carry(const lease::Action& action);
  void SpawnWorker(std::uint32_t spawn, ClientId job);
  void OpenPair(const lease::OpenPair& pair);
  void RefuseWant(const lease::Refuse& refusal);
  std::string WhyInfeasible(const lease::Refuse& refusal) const;
  bool NameShape(Connection& connection, const ShapeMessage& message);
  bool Want(Connection& connection, const WantMessage& message);
  bool Returned(Connection& connection, const ReturnWorkerMessage& message);
  bool Blocked(Connection& connection, bool blocked);
  void ReadSupervisor();
  void WorkerSpawned(const wire::Spawned& spawned);
  void WorkerExited(const wire::Exited& exited);
  void Kill(Spawn& spawn);
  void TellFailedSpawns();
  void WatchSupervisor(bool writable);
  void ToSupervisor(std::span<const std::byte> bytes, std::span<const int> fds);

  // ---- pool_relays.cc
  bool ListenForRelays(std::string* reason);
  Fd ListenOn(const std::string& host, const std::string& port, std::uint16_t* bound, std::string* reason) const;
  void StartTransfers();
  std::string TransferPath() const { return options_.socket_path + ".transfers"; }
  void AcceptRelays();
  void TakeNews();
  void StartNear(const Neighbours::Granted& granted);
  // The scheduler hears of each shape of a job as of a job of its own.
  static std::uint64_t NumberOf(ClientId job, lease::Shape shape) { return std::uint64_t{shape} << 32 | job; }
  static ClientId JobOfNumber(std::uint64_t number) { return static_cast<ClientId>(number); }
  static lease::Shape ShapeOfNumber(std::uint64_t number) { return static_cast<lease::Shape>(number >> 32); }
  bool SpawnRelay(Spawn entry, const JobDescription& description, const int (&fds)[3]);
  void LeaveRelay(Relay& relay);
  void ParkRelay(const Relay& relay, bool gently);
  bool Parked(Connection& connection, std::uint64_t bytes_there);
  bool Asks(Connection& connection);
  bool OfNearHalf(const Connection& connection, const std::function<void(Relay&)>& f);
  bool Released(Connection& connection);
  bool RenewParked(const Neighbours::Granted& granted);
  void GiveCredits(const Neighbours::News* news);
  bool Begun(Connection& connection, std::uint64_t credit);
  bool HasRoomFor(const scheduler::GrantInfo& grant) const;
  std::uint32_t AskedByParked(std::uint64_t number) const;
  std::uint32_t HeldBy(std::uint64_t number) const;  // slots that it has on other machines
  void ParkIdleRelays(std::uint64_t number, Job* job);
  void ParkSurplusRelays(std::uint64_t number, Job* job);
  void RelayEnded(const Spawn& spawn, bool was_ready, int status);
  bool MustGoElsewhere(lease::CrewKey crew) const;
  void RefuseShape(lease::CrewKey crew, const std::string& why);
  void Admit(Connection& connection, std::uint64_t request, const AdmitMessage& message);
  scheduler::PoolOffer Offer() const;
  scheduler::PoolReport Report() const;
  void TendRelays();  // once a turn: idle ones leave, and the scheduler hears of what has changed

  // ---- pool_shortage.cc
  bool AskForMemory(std::uint64_t connection, std::uint64_t request, const MakeSegmentMessage& message);
  void TendShortage();

  // ---- pool_waits.cc
  void TellWhoWaits();
  std::string WhyItWaits(std::uint64_t number) const;

  // ---- pool_status.cc
  std::uint64_t ExecutedBy(ClientId client) const;
  static std::string DescribeExit(std::int32_t status);

  const PoolOptions options_;
  std::uint32_t slots_ = 1, cores_ = 1;
  std::unique_ptr<PoolCore> core_;
  std::unique_ptr<lease::LeaseCore> leases_;
  PageWriter page_;
  SegmentMaker maker_;
  Fd epoll_, listener_;
  std::unique_ptr<ClientLink> supervisor_;
  std::map<std::uint64_t, std::unique_ptr<Connection>> connections_;
  std::map<ClientId, Memory> memory_;
  std::map<ClientId, Job> jobs_;
  std::map<std::uint32_t, Spawn> spawns_;
  std::map<pid_t, std::uint32_t> spawn_of_pid_;
  std::map<std::uint64_t, Making> making_;
  struct Shortage {
    std::uint64_t connection, request;
    MakeSegmentMessage message;
    Now until = 0;
  };
  std::vector<Shortage> short_;    // wait for what others give back
  bool asked_for_memory_ = false;  // for the request in hand
  std::deque<FirstSet> prepared_;
  Now prepare_at_ = 0;  // not before, after a failure
  std::uint64_t next_connection_ = 1, next_ticket_ = 1;
  std::uint32_t next_nonce_ = 1;
  int hearing_ = 0;             // how many owners are being heard, one because of the other
  std::uint64_t embedded_ = 0;  // connection of the one driver
  bool stopping_ = false, ended_ = false;
  int exit_code_ = 0;
  Now stop_at_ = INT64_MAX, now_ = 0, started_ = 0, view_at_ = 0;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> stop_requests_;  // connection, request
  std::vector<lease::SpawnFailed> failed_spawns_;
  std::string last_spawn_failure_;
  std::uint64_t workers_died_ = 0;
  std::uint64_t executed_before_ = 0;  // by jobs that are over
  std::function<void(const PoolView&)> on_view_;
  Neighbours* neighbours_ = nullptr;  // of a pool in a cluster
  Now drain_until_ = INT64_MAX;       // asked to hand over and end
  Fd relay_listener_;
  std::string relay_address_;
  Fd transfer_listener_;
  std::string transfer_address_;
  std::uint32_t transfer_spawn_ = 0;  // 0: the server does not run
  Now transfers_again_ = 0;           // not before, after one that ended
  std::map<std::uint64_t, Relay> relays_;
  std::uint32_t next_relay_spawn_ = kFirstRelaySpawn;
  std::vector<scheduler::LeaseWant> reported_wants_;
  std::vector<std::uint64_t> reported_held_;
  std::uint64_t reported_own_ = 0;
  scheduler::Resources reported_own_resources_;
};

}  // namespace sheaf
