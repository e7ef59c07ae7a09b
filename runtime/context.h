// What Init builds and Shutdown closes: one per process, handed down, never looked up below the public door.
//
// Threads: the user's, and one helper that reads the pool's messages and pumps the submitter while user code
// computes. In a worker the user's thread is the executor (worker/executor.h), reached through TaskRunner.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/futex.h"
#include "object_store/block_heap.h"
#include "object_store/peer_table.h"
#include "proto/control_page.h"
#include "runtime/heirs.h"
#include "runtime/patient_hooks.h"
#include "runtime/pool_socket.h"
#include "runtime/program.h"
#include "runtime/submitter.h"

namespace sheaf::runtime {

// What a worker's executor offers to the rest of the runtime.
class TaskRunner {
 public:
  virtual ~TaskRunner() = default;
  virtual bool OnThisThread() const = 0;
  // Runs a queued task of this process here and now, if it is still queued and the stack allows.
  virtual bool RunInline(ObjectRoot* root) = 0;
  // While a task of this worker waits inside Get: acknowledges recalls, runs urgent heads. True: something was done.
  virtual bool WorkWhileWaiting() = 0;
  // Frees what submitters have let go of since this worker last looked at their lanes. Takes the submitter's lock.
  virtual void TakeReleases() = 0;
  virtual void OpenIn(const wire::OpenPair& message, store::Peer* peer) = 0;
  virtual void OnStartCall(const wire::StartCall& call, std::string arguments) = 0;
  virtual void PeerGone(std::uint32_t client) = 0;
  virtual void PeerForgotten(std::uint32_t client) = 0;
  virtual void Drain(bool job_over) = 0;
  virtual void Park(bool /*gently*/) {}  // a relay's near half: its grant goes back
  virtual void Renew(std::string) {}     // by this ticket another has come
  virtual void Wanted(std::uint32_t) {}  // somebody reads that segment, whose bytes lie on the other machine
  // Unmaps what nobody may look at any more, once no look is under way.
  virtual void RunWhenIdle(std::function<void()> f) = 0;
};

class Remaker;

class Context {
 public:
  // Attaches over a connected socket. Throws InitError with advice.
  // `program`: whose workers the pool shall start, if not this one's.
  static std::unique_ptr<Context> Attach(UniqueFd socket, wire::Role role, std::uint32_t spawn,
                                         const ForeignProgram* program = nullptr, const std::string& files = {});
  ~Context();

  void Start();                                // the helper thread
  void StopHooks() { patient_hooks_.Stop(); }  // before this is no longer the process's context
  void SetRunner(TaskRunner* runner) { runner_.store(runner, std::memory_order_release); }
  TaskRunner* runner() const { return runner_.load(std::memory_order_acquire); }

  const std::uint16_t life;  // detail::Root::life of what is made under it
  const std::uint32_t client;
  const std::uint32_t slots, cores;
  const std::uint64_t budget_bytes;  // of the pool's store
  const wire::ControlPage& page;
  PoolSocket& socket() { return *socket_; }
  store::ControlHeader* control() { return control_; }
  store::PeerTable& peers() { return *peers_; }
  store::BlockHeap& heap() { return *heap_; }
  // Of heap(); a large one is made of what has become free since, rather than of new pages. Without the submitter's lock.
  store::OwnBlock Allocate(std::uint64_t bytes);
  Submitter& submitter() { return *submitter_; }
  const Heirs& heirs() const { return heirs_; }

  bool IsDead(std::uint32_t peer) const {
    const auto& entry = page.clients[store::IndexOf(peer)];
    return entry.client.load(std::memory_order_acquire) != peer ||
           entry.state.load(std::memory_order_acquire) == wire::ClientState::kDead;
  }
  // ---- blocks that lie on another machine (docs/decisions/0012)
  enum class Whereabouts { kHere, kAway, kLater, kGone };  // kLater: lost, and perhaps made again
  using AwayOffer = std::array<std::byte, wire::kOfferBytes>;
  // Maps the segment if its bytes are here, else says from where they can be had. Does not wait for them.
  Whereabouts LookForSegment(std::uint32_t owner, std::uint32_t segment, AwayOffer* offer);
  void WillRead(std::uint32_t owner, std::uint32_t segment);  // its bytes may start to come
  // Memory for one of our own; only the caller sees it until it gives it back filled.
  store::Mapping MakeAway(std::uint32_t segment, std::uint64_t bytes, std::string* why);
  void AwayIsHere(std::uint32_t segment, store::Mapping mapping);
  void DropAway(std::uint32_t segment) { DropSegment({segment, nullptr, 0}); }

  // A read-only descriptor of a published segment, of this process's too. Invalid: it is gone. Asks the pool.
  UniqueFd OpenDescriptor(std::uint32_t owner, std::uint32_t segment, std::uint64_t* bytes = nullptr);
  bool pool_lost() const { return pool_lost_.load(std::memory_order_acquire); }
  const std::atomic<std::uint32_t>& page_bell() const { return page.clients[store::IndexOf(client)].bell; }

  // Threads inside a lock-free look at other clients' memory: nothing is unmapped meanwhile.
  std::atomic<std::uint32_t> lookers{0};
  std::atomic<std::uint32_t> waiting_threads{0};  // they pump themselves; the helper need not

  // ---- waits for objects of other clients
  // `what`: the home word of the object, if it is bound to a worker and the only one awaited; 0: who makes it is not known.
  void BeginAwaiting(std::uint64_t what);
  void EndAwaiting();
  // Bells of everybody mapped here, read before the caller's last look.
  void CollectBells(std::vector<FutexWord>* words);
  // To call after something became visible that another client's thread may await. `made`: the home word that names the
  // completion; 0: it may be anything.
  void RingAwaiting(std::uint64_t made = 0);
  void RingOwn();
  void AddBell(const store::ControlHeader& control, std::vector<FutexWord>* words) const;

 private:
  struct Attached;
  explicit Context(Attached&& attached);
  store::OwnSegment MakeSegment(wire::SegmentKind kind, std::uint64_t bytes);
  void DropSegment(const store::OwnSegment& segment);
  void GiveBack();  // memory that is kept for later
  store::Mapping OpenSegment(std::uint32_t peer, std::uint32_t segment);
  std::optional<Message> AwaitSegment(std::uint64_t request);
  void RunHelper();
  void Handle(Message message);
  bool IsLookedAt();
  store::Peer* PeerByThePool(std::uint32_t client);
  void HandlePair(Message& message, bool out);
  void HandleRefused(const Message& message);
  void WhenUnobserved(std::function<void()> f);
  void RunDeferred();

  std::unique_ptr<PoolSocket> socket_;
  store::ControlHeader* control_ = nullptr;
  std::unique_ptr<store::PeerTable> peers_;
  std::unique_ptr<store::BlockHeap> heap_;
  std::unique_ptr<Submitter> submitter_;
  Heirs heirs_;
  std::unique_ptr<Remaker> remaker_;
  std::atomic<TaskRunner*> runner_{nullptr};
  std::atomic<bool> stop_{false}, pool_lost_{false};
  std::mutex awaiting_mutex_;
  std::uint32_t awaiting_count_ = 0, awaiting_value_ = 1;
  std::atomic<std::uint32_t> rung_[limits::kClientsMax] = {};
  std::vector<std::function<void()>> deferred_;  // helper thread only
  std::vector<Message> early_;                   // for the runner, before it is set
  std::thread helper_;
  PatientHooks patient_hooks_;
};

// The context of this process, or nullptr. Set by Init and by a worker's start.
Context* CurrentContext();
void SetCurrentContext(Context* context);
Context& RequireContext();  // throws InitError: call Init first

}  // namespace sheaf::runtime
