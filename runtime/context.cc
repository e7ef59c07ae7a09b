#include "runtime/context.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/barrier.h"
#include "base/check.h"
#include "base/clock.h"
#include "runtime/getter.h"
#include "runtime/prober.h"
#include "runtime/program.h"
#include "runtime/remaker.h"
#include "sheaf/error.h"

namespace sheaf::runtime {

namespace {

constexpr std::int64_t kKeepWantNanos = 5'000'000'000;  // idle this long, a client no longer claims workers

// Never 0, which is nobody's.
std::uint16_t NextLife() {
  const auto next = static_cast<std::uint16_t>(detail::this_life.load() % 0xffff + 1);
  detail::this_life.store(next);
  return next;
}

}  // namespace

struct Context::Attached {
  std::unique_ptr<PoolSocket> socket;
  wire::Welcome welcome;
  wire::Role role;
  store::Mapping page, control, slab, arena;
};

std::unique_ptr<Context> Context::Attach(UniqueFd fd, wire::Role role, std::uint32_t spawn,
                                         const ForeignProgram* program, const std::string& files) {
  Attached attached;
  attached.role = role;
  attached.socket = std::make_unique<PoolSocket>(std::move(fd));
  wire::Attach hello{};
  hello.version = wire::kVersion;
  hello.role = role;
  hello.pid = static_cast<std::uint32_t>(getpid());
  hello.spawn = spawn;
  const auto build = ProgramIdentity();
  std::memcpy(hello.build, build.data(), sizeof hello.build);
  std::string tail;
  std::vector<int> fds;
  UniqueFd executable;
  if (program) {
    std::memcpy(hello.build, program->identity.data(), sizeof hello.build);
    hello.argument_count = program->arguments;
    hello.environment_count = program->environment;
    tail = program->description;
    fds = {program->executable, program->standard_output, program->standard_error};
  } else if (role == wire::Role::kDriver) {
    tail = DescribeProgram(files, &hello.argument_count, &hello.environment_count);
    executable = UniqueFd(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
    fds = {executable.get(), STDOUT_FILENO, STDERR_FILENO};
  }
  auto answer =
      attached.socket->Call(hello, wire::Kind::kAttach, std::as_bytes(std::span(tail)), fds, std::chrono::seconds(20));
  if (!answer) throw InitError("the pool did not answer; is it running? Look at `sheaf status`");
  if (answer->kind() == wire::Kind::kRefused)
    throw InitError("the pool refused this process: " + answer->Tail<wire::Refused>());
  const auto* welcome = answer->As<wire::Welcome>();
  if (answer->kind() != wire::Kind::kWelcome || !welcome || answer->fds.size() != 4)
    throw InitError("the pool answered with something this version does not understand");
  attached.welcome = *welcome;
  using store::Access;
  using store::Mapping;
  attached.page = Mapping::Map(answer->fds[0].get(), welcome->page_bytes, Access::kReadOnly);
  attached.control = Mapping::Map(answer->fds[1].get(), welcome->control_bytes, Access::kReadWrite);
  attached.slab = Mapping::Map(answer->fds[2].get(), welcome->slab_bytes, Access::kReadWrite);
  attached.arena = Mapping::Map(answer->fds[3].get(), welcome->arena_bytes, Access::kReadWrite);
  if (!attached.page.ok() || !attached.control.ok() || !attached.slab.ok() || !attached.arena.ok() ||
      welcome->page_bytes < sizeof(wire::ControlPage) || welcome->slab_bytes < store::SlabBytes(0) ||
      welcome->control_bytes < store::ControlBytes(welcome->out_regions, welcome->in_regions))
    throw InitError("the pool's memory could not be mapped (" + std::string(std::strerror(errno)) +
                    "); check the limit on address space (ulimit -v)");
  auto context = std::unique_ptr<Context>(new Context(std::move(attached)));
  wire::Header done{};
  struct {
    wire::Header header;
  } message{done};
  context->socket().Send(message, wire::Kind::kAttached);
  return context;
}

Context::Context(Attached&& attached)
    : life(NextLife()),
      client(attached.welcome.client),
      slots(attached.welcome.slots),
      cores(attached.welcome.cores),
      budget_bytes(attached.welcome.budget_bytes),
      page(*reinterpret_cast<const wire::ControlPage*>(attached.page.Leak())),
      socket_(std::move(attached.socket)) {
  const wire::Welcome& welcome = attached.welcome;
  control_ = reinterpret_cast<store::ControlHeader*>(attached.control.base());
  control_->version = wire::kVersion;
  control_->client = client;
  control_->pid = static_cast<std::uint32_t>(getpid());
  control_->out_regions = welcome.out_regions;
  control_->in_regions = welcome.in_regions;
  control_->out_offset = store::OutOffset();
  control_->in_offset = store::InOffset(welcome.out_regions);
  control_->magic = store::kControlMagic;
  peers_ = std::make_unique<store::PeerTable>(
      [this](std::uint32_t peer, std::uint32_t segment) { return OpenSegment(peer, segment); });
  heap_ = std::make_unique<store::BlockHeap>(
      [this](wire::SegmentKind kind, std::uint64_t bytes) { return MakeSegment(kind, bytes); },
      [this](const store::OwnSegment& segment) { DropSegment(segment); });
  store::Peer* self = peers_->FindOrAdd(client);
  const store::OwnSegment slab{welcome.slab_segment, attached.slab.base(), attached.slab.bytes()};
  const store::OwnSegment arena{welcome.arena_segment, attached.arena.base(), attached.arena.bytes()};
  peers_->Add(*self, 0, std::move(attached.control));
  peers_->Add(*self, slab.segment, std::move(attached.slab));
  peers_->AddSlab(*self, 0, slab.base);
  peers_->Add(*self, arena.segment, std::move(attached.arena));
  Submitter::Parts parts;
  parts.life = life;
  parts.client = client;
  parts.slots = slots;
  parts.control = control_;
  parts.peers = peers_.get();
  parts.heap = heap_.get();
  parts.socket = socket_.get();
  parts.is_worker = attached.role != wire::Role::kDriver;
  parts.clustered = attached.welcome.clustered != 0;
  submitter_ = std::make_unique<Submitter>(parts, [this](std::uint64_t bytes) {
    const store::OwnSegment made = MakeSegment(wire::SegmentKind::kSlab, bytes);
    if (made.base) peers_->AddSlab(*peers_->Find(client), control_->slab_count.load(), made.base);
    return made;
  });
  submitter_->foreign_is_ready = [this](ForeignRoot* root) { return ForeignIsReady(*this, root); };
  submitter_->leads_to_value = [this](const ObjectId& id, std::uint32_t unwrap) {
    return LeadsToValue(*this, id, unwrap);
  };
  submitter_->run_patiently = [this](auto hooks) { patient_hooks_.Add(std::move(hooks)); };
  remaker_ = std::make_unique<Remaker>(*this);
  submitter_->slots().AddSlab(slab);
  heap_->AddArena(arena);
}

Context::~Context() {
  stop_.store(true, std::memory_order_release);
  submitter_->Bell(store::IndexOf(client));
  if (helper_.joinable()) helper_.join();
  if (IsLookedAt()) peers_->LeaveMapped();
}

// Whether a handle that the user still has may point into memory that is mapped here.
bool Context::IsLookedAt() {
  Submitter::Lock lock(*submitter_);
  std::int64_t uses = 0;
  peers_->ForEach([&](const store::Peer& peer) { uses += peer.uses.load(std::memory_order_acquire); });
  uses -= static_cast<std::int64_t>(submitter_->pairs().size());  // they are no handles
  return uses > 0 || submitter_->slots().live() > 0 || heap_->live_bytes() > 0;
}

void Context::Start() {
  helper_ = std::thread([this] { RunHelper(); });
}

// The pool lends an index again when all have let go of who had it. A thread that looked for that one just then may have put it
// back; the pool's word is the newer one.
store::Peer* Context::PeerByThePool(std::uint32_t client) {
  if (store::Peer* peer = peers_->FindOrAdd(client)) return peer;
  if (const store::Peer* late = peers_->FindByIndex(store::IndexOf(client))) {
    store::Peer* detached = peers_->Detach(late->client());
    WhenUnobserved([detached] { store::PeerTable::Destroy(detached); });
  }
  return peers_->FindOrAdd(client);
}

void Context::HandlePair(Message& message, bool out) {
  const auto* open = message.As<wire::OpenPair>();
  if (!open || message.fds.size() != 1) return;
  store::Peer* peer = PeerByThePool(open->peer);
  if (!peer) return;
  if (!peer->control()) {
    store::Mapping mapping =
        store::Mapping::Map(message.fds[0].get(), open->peer_control_bytes, store::Access::kReadOnly);
    if (!mapping.ok()) return;
    peers_->Add(*peer, 0, std::move(mapping));
  }
  if (out) {
    Submitter::Lock lock(*submitter_);
    submitter_->OpenPairLocked(*open, peer);
    submitter_->RingLocked();
  } else if (TaskRunner* runner = this->runner()) {
    runner->OpenIn(*open, peer);
  }
}

// For threads of this process that wait for objects of others.
void Context::RingOwn() {
  Submitter::Lock lock(*submitter_);
  submitter_->RingLocked();
}

void Context::HandleRefused(const Message& message) {
  const auto* refused = message.As<wire::Refused>();
  if (!refused) return;
  if (refused->why == wire::Refusal::kInfeasible) {
    Submitter::Lock lock(*submitter_);
    submitter_->FailQueuedLocked("InfeasibleError", message.Tail<wire::Refused>(), refused->shape, true);
  } else if (refused->why == wire::Refusal::kSpawnFailed || refused->why == wire::Refusal::kStopping) {
    Submitter::Lock lock(*submitter_);
    submitter_->FailAllLocked("PoolLostError",
                              "the pool can start no worker for this program: " + message.Tail<wire::Refused>());
  } else if (refused->why == wire::Refusal::kLimit) {
    Submitter::Lock lock(*submitter_);
    submitter_->FailQueuedLocked("LimitError", message.Tail<wire::Refused>(), refused->shape);
  }
}

void Context::Handle(Message message) {
  switch (message.kind()) {
    case wire::Kind::kOpenOut:
      HandlePair(message, true);
      break;
    case wire::Kind::kOpenIn:
      HandlePair(message, false);
      break;
    case wire::Kind::kGone:
      if (const auto* gone = message.As<wire::Gone>()) {
        if (TaskRunner* runner = this->runner()) runner->PeerGone(gone->peer);
        store::Peer* peer = PeerByThePool(gone->peer);  // an unknown peer is acknowledged at once
        if (peer) peer->gone.store(true, std::memory_order_release);
        {
          Submitter::Lock lock(*submitter_);
          submitter_->PeerGoneLocked(gone->peer, gone->status);
        }
        remaker_->PeerGone(gone->peer);
      }
      break;
    case wire::Kind::kHeirsAre:
      if (const auto* name = message.As<wire::PeerName>()) {
        const std::string tail = message.Tail<wire::PeerName>();
        std::vector<wire::HeirEntry> entries(tail.size() / sizeof(wire::HeirEntry));
        if (!entries.empty()) std::memcpy(entries.data(), tail.data(), entries.size() * sizeof entries[0]);
        heirs_.Add(name->peer, entries);
        RingOwn();
      }
      break;
    case wire::Kind::kSettled:
      if (const auto* name = message.As<wire::PeerName>()) {
        heirs_.Settle(name->peer);
        RingOwn();
      }
      break;
    case wire::Kind::kShort:
      GiveBack();
      break;
    case wire::Kind::kAlone:
      if (const auto* name = message.As<wire::PeerName>()) {
        Submitter::Lock lock(*submitter_);
        submitter_->EndLoansLocked(name->peer);
      }
      break;
    case wire::Kind::kForgotten:
      if (const auto* name = message.As<wire::PeerName>()) {
        const std::uint32_t peer = name->peer;
        if (TaskRunner* runner = this->runner()) runner->PeerForgotten(peer);
        remaker_->PeerForgotten(peer);
        heirs_.Forget(peer);
        {
          Submitter::Lock lock(*submitter_);
          submitter_->PeerForgottenLocked(peer);
        }
        // The pool may lend the index again in its next message.
        store::Peer* detached = peers_->Detach(peer);
        WhenUnobserved([detached] { store::PeerTable::Destroy(detached); });
      }
      break;
    case wire::Kind::kHasArrived:
      if (const auto* arrived = message.As<wire::Arrived>()) {
        Submitter::Lock lock(*submitter_);
        submitter_->HasArrivedLocked(arrived->slot, arrived->generation);
      }
      break;
    case wire::Kind::kWanted:
      if (const auto* name = message.As<wire::SegmentName>())
        if (TaskRunner* runner = this->runner()) runner->Wanted(name->segment);
      break;
    case wire::Kind::kSegmentGone:
      if (const auto* name = message.As<wire::SegmentName>()) {
        const wire::SegmentName gone = *name;
        WhenUnobserved([this, gone] { peers_->Unmap(gone.client, gone.segment); });
      }
      break;
    case wire::Kind::kRunStart:
      if (const auto* call = message.As<wire::StartCall>())
        if (TaskRunner* runner = this->runner()) runner->OnStartCall(*call, message.Tail<wire::StartCall>());
      break;
    case wire::Kind::kDrain:
      if (const auto* drain = message.As<wire::Drain>())
        if (TaskRunner* runner = this->runner()) runner->Drain(drain->job_over != 0);
      break;
    case wire::Kind::kPark:
      if (TaskRunner* runner = this->runner())
        if (const auto* park = message.As<wire::Park>()) runner->Park(park->gently != 0);
      break;
    case wire::Kind::kRenew:
      if (TaskRunner* runner = this->runner()) runner->Renew(message.Tail<wire::Header>());
      break;
    case wire::Kind::kRefused:
      HandleRefused(message);
      break;
    default:
      break;  // a newer pool may say more than we understand
  }
}

// Runs `f` on this thread once no thread is inside a look at foreign memory; in a worker, on the executor's.
void Context::WhenUnobserved(std::function<void()> f) {
  if (TaskRunner* runner = this->runner()) {
    runner->RunWhenIdle(std::move(f));
  } else {
    deferred_.push_back(std::move(f));
  }
}

void Context::RunDeferred() {
  if (deferred_.empty()) return;
  Submitter::Lock lock(*submitter_);
  if (lookers.load(std::memory_order_seq_cst) != 0) return;
  for (auto& f : deferred_) f();
  deferred_.clear();
}

void Context::RunHelper() {
  std::vector<FutexWord> words;
  std::int64_t last_busy = NowNanos(), last_change = last_busy;
  std::uint64_t pumped = 0;  // how many pumps there had been after the last look
  std::uint64_t outstanding = 0;
  while (!stop_.load(std::memory_order_acquire)) {
    words.clear();
    words.push_back({&page_bell(), page_bell().load(std::memory_order_acquire)});
    AddBell(*control_, &words);
    const bool connected = socket_->ReadArrived();
    while (auto message = socket_->TakeMessage()) {
      if (message->bytes.size() >= sizeof(wire::Header)) Handle(std::move(*message));
    }
    if (!connected || socket_->lost()) {
      pool_lost_.store(true, std::memory_order_release);
      Submitter::Lock lock(*submitter_);
      submitter_->FailAllLocked("PoolLostError",
                                "the pool of this machine has ended; objects already received stay readable");
      if (TaskRunner* runner = this->runner()) runner->Drain(true);
      return;
    }
    RunDeferred();
    remaker_->Advance(NowNanos());
    std::vector<std::pair<Lane*, std::uint64_t>> targets;
    bool busy = false, others_pump = false;
    {
      Submitter::Lock lock(*submitter_);
      if (pumped == submitter_->pumps()) {
        submitter_->PumpLocked();
        ++pumped;
      }
      submitter_->AcknowledgeDeadLocked();
      busy = submitter_->outstanding() > 0 || remaker_->busy();
      const std::int64_t now = NowNanos();
      if (busy) last_busy = now;
      if (std::exchange(outstanding, submitter_->outstanding()) != submitter_->outstanding()) last_change = now;
      submitter_->LowerWantLocked(now - last_busy > kKeepWantNanos, now);
      others_pump = pumped != submitter_->pumps() || waiting_threads.load(std::memory_order_acquire) > 0;
      pumped = submitter_->pumps();
      submitter_->helper_idle = !busy;
      if (busy && !others_pump) {
        for (OutPair* pair : submitter_->pairs())
          if (words.size() < 120) AddBell(*pair->control, &words);
        submitter_->AddTargetsLocked(nullptr, false, &targets);
      }
    }
    FullBarrier();
    // A thread that submits or waits pumps by itself; this one looks now and then whether it still does, more rarely the
    // longer nothing has happened: of many workers whose tasks wait, each has such a thread.
    const std::int64_t still = std::clamp<std::int64_t>((NowNanos() - last_change) / 8, 1'000'000, 20'000'000);
    const std::int64_t look = others_pump ? still : 5'000'000;
    FutexWaitAny(words, std::chrono::nanoseconds(busy ? look : 200'000'000));
    if (!targets.empty()) {
      Submitter::Lock lock(*submitter_);
      submitter_->RemoveTargetsLocked(targets);
    }
  }
}

void Context::AddBell(const store::ControlHeader& control, std::vector<FutexWord>* words) const {
  const auto& bell = store::BellOf(control, store::IndexOf(client));
  words->push_back({&bell, bell.load(std::memory_order_acquire)});
}

void Context::BeginAwaiting(std::uint64_t what) {
  std::lock_guard lock(awaiting_mutex_);
  awaiting_value_ += 2;  // odd, and new at each sleep: a word is rung once per value
  control_->awaited.store(++awaiting_count_ == 1 ? what : 0, std::memory_order_relaxed);
  control_->awaiting.store(awaiting_value_, std::memory_order_release);
}

void Context::EndAwaiting() {
  std::lock_guard lock(awaiting_mutex_);
  SHEAF_CHECK(awaiting_count_ > 0);
  if (--awaiting_count_ == 0) control_->awaiting.store(0, std::memory_order_release);
}

void Context::CollectBells(std::vector<FutexWord>* words) {
  words->push_back({&page_bell(), page_bell().load(std::memory_order_acquire)});
  AddBell(*control_, words);
  peers_->ForEach([&](store::Peer& peer) {
    const auto* control = peer.control();
    if (!control || peer.client() == client || words->size() >= 126) return;
    AddBell(*control, words);
  });
}

void Context::RingAwaiting(std::uint64_t made) {
  peers_->ForEach([&](store::Peer& peer) {
    const auto* control = peer.control();
    if (!control || peer.client() == client) return;
    const std::uint32_t value = control->awaiting.load(std::memory_order_acquire);
    if (value == 0) return;
    auto& rung = rung_[store::IndexOf(peer.client())];
    if (rung.load(std::memory_order_relaxed) == value) return;
    const std::uint64_t awaited = control->awaited.load(std::memory_order_acquire);
    // Of another sleep, perhaps, if the value has moved on; then it is rung for nothing.
    if (made != 0 && awaited != 0 && awaited != made && control->awaiting.load(std::memory_order_relaxed) == value)
      return;
    rung.store(value, std::memory_order_relaxed);
    submitter_->Bell(store::IndexOf(peer.client()));
  });
}

}  // namespace sheaf::runtime
