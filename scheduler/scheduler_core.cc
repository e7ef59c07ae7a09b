#include "scheduler/scheduler_core.h"

#include <algorithm>
#include <utility>

#include "base/needs.h"

namespace sheaf::scheduler {
namespace {

constexpr std::size_t kTextBytesMax = 512;
constexpr std::uint32_t kSlotsMax = 65536;

bool IsPlainText(const std::string& text) {
  return text.size() <= kTextBytesMax && std::all_of(text.begin(), text.end(), [](char c) {
           return static_cast<unsigned char>(c) >= 0x20 && static_cast<unsigned char>(c) < 0x7f;
         });
}

// Empty, or what is wrong with the registration as such.
std::string Fault(const RegisterArrived& event) {
  if (event.protocol != kProtocol) {
    return "the pool speaks protocol " + std::to_string(event.protocol) + ", this scheduler " +
           std::to_string(kProtocol) + ": use the same version of sheaf on both sides";
  }
  const PoolIdentity& pool = event.pool;
  if (!IsPlainName(pool.pool_id)) {
    return "a pool id has 1 to 64 letters, digits, '-', '_' or '.'";
  }
  if (pool.incarnation == 0) return "a pool's incarnation starts at 1";
  if (!IsPlainText(pool.machine) || !IsPlainText(pool.address) || !IsPlainText(pool.version)) {
    return "machine, address and version are printable ASCII of at most 512 bytes";
  }
  if (event.load.slots > kSlotsMax || event.offer.cpus_milli > std::uint64_t{kSlotsMax} * 1000) {
    return "a pool offers at most 65536 slots";
  }
  if (!IsPlainText(event.offer.address)) return "an address is printable ASCII of at most 512 bytes";
  constexpr std::size_t kNamedMax = 64;
  if (event.offer.has.resources.size() > kNamedMax || event.offer.has.labels.size() > kNamedMax)
    return "a pool has at most 64 custom resources and 64 labels";
  for (const auto& [name, amount] : event.offer.has.resources)
    if (!IsPlainText(name) || amount > (std::uint64_t{1} << 50))
      return "a resource with a name or amount out of bounds";
  for (const std::string& label : event.offer.has.labels)
    if (!IsPlainText(label)) return "a label is printable ASCII of at most 512 bytes";
  return {};
}

}  // namespace

SchedulerCore::SchedulerCore(Config config, const std::vector<PoolIdentity>& known, Time now,
                             const std::vector<GrantRecord>& granted)
    : config_(std::move(config)), nodes_(config_.limits), placement_(config_.placement, config_.epoch) {
  for (const PoolIdentity& pool : known) nodes_.Expect(pool, now);
  const auto lives = [this](const std::string& pool, std::uint64_t incarnation) {
    const Node* node = nodes_.Find(pool);
    return node != nullptr && node->identity.incarnation == incarnation;
  };
  for (const GrantRecord& grant : granted) {
    journal_.InFile(grant.id);
    if (lives(grant.borrower, grant.borrower_incarnation) && lives(grant.lender, grant.lender_incarnation)) {
      placement_.Expect(grant);
    } else {
      journal_.Changed(grant.id, false);  // of a life that is over: nobody will report it
    }
  }
}

std::vector<Action> SchedulerCore::OnEvent(const Event& event, Time now) {
  actions_.clear();
  std::visit([&](const auto& e) { On(e, now); }, event);
  WriteGrants(now);
  return std::exchange(actions_, {});
}

void SchedulerCore::On(const RegisterArrived& event, Time now) {
  if (std::string fault = Fault(event); !fault.empty()) {
    actions_.push_back(ReplyRegister{event.token, Verdict::kRefused, std::move(fault)});
    return;
  }
  if (event.cluster_id_seen == config_.cluster_id && event.epoch_seen > config_.epoch) {
    // The pool knows a later life of this scheduler: we are the leftover, and must not take members.
    actions_.push_back(ReplyRegister{event.token, Verdict::kRefused,
                                     "this scheduler runs in epoch " + std::to_string(config_.epoch) + ", epoch " +
                                         std::to_string(event.epoch_seen) + " exists: stop this one"});
    return;
  }
  const Node* node = nodes_.Find(event.pool.pool_id);
  const NodeTable::Registered verdict = nodes_.Judge(event.pool, now);
  const bool stored = node != nullptr && node->identity == event.pool;
  if (verdict != NodeTable::Registered::kJoined) {
    Settle(event.token, event.pool, event.load, event.offer, now);
    return;
  }
  // A registration of an earlier life that comes late must not be written over that of a later one, which the table does
  // not show yet; nor may it take the name back from it.
  for (const auto& [write, open] : writes_) {
    if (open.pool.pool_id != event.pool.pool_id || open.pool.incarnation == event.pool.incarnation) continue;
    const bool later = open.pool.incarnation > event.pool.incarnation;
    actions_.push_back(ReplyRegister{
        event.token, later ? Verdict::kSuperseded : Verdict::kUnavailable,
        later ? "a later incarnation of this pool registers" : "a pool of this name registers at this moment"});
    return;
  }
  if (stored) {
    Settle(event.token, event.pool, event.load, event.offer, now);
    return;
  }
  if (OpenWrite* open = FindWaiting(event.pool)) {
    if (open->waiting.size() < config_.waiters_max) {
      open->waiting.push_back(event.token);
    } else {
      actions_.push_back(
          ReplyRegister{event.token, Verdict::kUnavailable, "this registration waits for the state store already"});
    }
    return;
  }
  if (writes_.size() >= config_.writes_max) {
    actions_.push_back(
        ReplyRegister{event.token, Verdict::kUnavailable, "too many registrations wait for the state store"});
    return;
  }
  const std::uint64_t write = next_write_++;
  writes_.emplace(write, OpenWrite{event.pool, event.load, event.offer, {event.token}});
  actions_.push_back(StorePool{write, event.pool});
}

// Answers a registration that needs no write, or whose write is done.
void SchedulerCore::Settle(std::uint64_t token, const PoolIdentity& pool, const PoolLoad& load, const PoolOffer& offer,
                           Time now) {
  switch (nodes_.Register(pool, load, now)) {
    case NodeTable::Registered::kJoined:
      actions_.push_back(PoolJoined{pool});
      [[fallthrough]];
    case NodeTable::Registered::kRepeated:
      placement_.PoolUp(pool.pool_id, pool.incarnation, Drains(pool.pool_id, pool.incarnation) ? PoolOffer{} : offer,
                        now);
      actions_.push_back(ReplyRegister{token, Verdict::kOk, {}});
      return;
    case NodeTable::Registered::kSuperseded:
      actions_.push_back(
          ReplyRegister{token, Verdict::kSuperseded,
                        "a later incarnation of pool " + pool.pool_id + " is registered, or this one has left"});
      return;
    case NodeTable::Registered::kTaken: {
      const PoolIdentity& other = nodes_.Find(pool.pool_id)->identity;
      actions_.push_back(ReplyRegister{
          token, Verdict::kUnavailable,
          "a pool named " + pool.pool_id + " is alive on " + other.machine + ", process " + std::to_string(other.pid) +
              (other.address.empty() ? "" : ", " + other.address) +
              ": give this one another --id, or stop that one; if it has just died, the name is free in " +
              std::to_string((config_.limits.lost_after + 999'999'999) / 1'000'000'000) + " s"});
      return;
    }
    case NodeTable::Registered::kFull:
      actions_.push_back(
          ReplyRegister{token, Verdict::kUnavailable,
                        "the cluster has its " + std::to_string(config_.limits.pools_max) + " pools already"});
      if (nodes_.Find(pool.pool_id) == nullptr) Erase(pool);  // others came in while it was being stored
      return;
  }
}

void SchedulerCore::On(const HeartbeatArrived& event, Time now) {
  if (event.epoch != config_.epoch) {
    actions_.push_back(
        ReplyHeartbeat{event.token, Verdict::kRegisterAgain, "the scheduler was restarted", {}, {}, {}, false});
    return;
  }
  switch (nodes_.Heartbeat(event.pool_id, event.incarnation, event.sequence, event.load, now)) {
    case NodeTable::Heard::kFresh:
      placement_.Report(event.pool_id, event.report, now);
      [[fallthrough]];
    case NodeTable::Heard::kLate:
      actions_.push_back(ReplyHeartbeat{event.token,
                                        Verdict::kOk,
                                        {},
                                        placement_.GrantsOf(event.pool_id),
                                        placement_.InfeasibleOf(event.pool_id),
                                        placement_.VoidedOn(event.pool_id),
                                        Drains(event.pool_id, event.incarnation),
                                        placement_.CreditsOf(event.pool_id)});
      return;
    case NodeTable::Heard::kUnknown:
      actions_.push_back(ReplyHeartbeat{
          event.token, Verdict::kRegisterAgain, "not a member, or silent for too long", {}, {}, {}, false});
      return;
    case NodeTable::Heard::kSuperseded:
      actions_.push_back(ReplyHeartbeat{
          event.token, Verdict::kSuperseded, "a later incarnation of this pool is registered", {}, {}, {}, false});
      return;
  }
}

void SchedulerCore::On(const LeaveArrived& event, Time now) {
  const Node* node = nodes_.Find(event.pool_id);
  if (nodes_.Leave(event.pool_id, event.incarnation, now)) {
    actions_.push_back(PoolGone{node->identity, "left"});
    placement_.PoolDown(event.pool_id, now);
    Erase(node->identity);
  }
  // A pool that is unknown here has left for all purposes: the same answer to the first and to every repeat.
  actions_.push_back(ReplyLeave{event.token, Verdict::kOk});
}

bool SchedulerCore::Drains(const std::string& pool_id, std::uint64_t incarnation) const {
  const auto found = draining_.find(pool_id);
  return found != draining_.end() && found->second == incarnation;
}

// It lends no more: its borrowers hear of it, and hand over; it hears of it with its next heartbeat.
void SchedulerCore::On(const DrainAsked& event, Time now) {
  const Node* node = nodes_.Find(event.pool_id);
  if (node == nullptr || node->standing != Standing::kAlive) {
    actions_.push_back(ReplyDrain{event.token, Verdict::kRefused});
    return;
  }
  draining_[event.pool_id] = node->identity.incarnation;
  placement_.PoolUp(event.pool_id, node->identity.incarnation, PoolOffer{}, now);
  actions_.push_back(ReplyDrain{event.token, Verdict::kOk});
}

void SchedulerCore::On(const StoreDone& event, Time now) {
  trouble_ = event.ok ? std::string() : event.error;
  if (event.write == grants_write_) return journal_.Done(event.ok, now);
  const auto found = writes_.find(event.write);
  if (found == writes_.end()) return;  // an erasure: a pool that stays in the file is only expected in vain
  const OpenWrite open = std::move(found->second);
  writes_.erase(found);
  for (const std::uint64_t token : open.waiting) {
    if (event.ok) {
      Settle(token, open.pool, open.load, open.offer, now);
    } else {
      actions_.push_back(ReplyRegister{token, Verdict::kUnavailable, event.error});
    }
  }
}

void SchedulerCore::On(const Tick&, Time now) {
  const NodeTable::Expired expired = nodes_.Expire(now);
  for (const PoolIdentity& pool : expired.lost) {
    placement_.PoolDown(pool.pool_id, now);
    actions_.push_back(PoolGone{pool, "silent for too long"});
  }
  for (const PoolIdentity& pool : expired.forgotten) Erase(pool);
  placement_.Tick(now);
}

void SchedulerCore::Erase(const PoolIdentity& pool) {
  draining_.erase(pool.pool_id);
  // Not if a later life of the pool is just being written under the same id.
  for (const auto& [write, open] : writes_) {
    if (open.pool.pool_id == pool.pool_id) return;
  }
  actions_.push_back(ErasePool{next_write_++, pool.pool_id});
}

// Behind all answers of the event.
void SchedulerCore::WriteGrants(Time now) {
  for (const std::uint64_t grant : placement_.TakeChanged())
    journal_.Changed(grant, placement_.RecordOf(grant).has_value());
  GrantJournal::Batch batch = journal_.Begin(now);
  if (batch.empty()) return;
  StoreGrants action;
  action.write = grants_write_ = next_write_++;
  for (const std::uint64_t grant : batch.put)
    if (auto record = placement_.RecordOf(grant)) action.put.push_back(std::move(*record));
  action.erase = std::move(batch.erase);
  actions_.push_back(std::move(action));
}

SchedulerCore::OpenWrite* SchedulerCore::FindWaiting(const PoolIdentity& pool) {
  for (auto& [write, open] : writes_) {
    if (open.pool == pool) return &open;
  }
  return nullptr;
}

ClusterView SchedulerCore::Show(Time now, bool placement) const {
  ClusterView view;
  view.cluster_id = config_.cluster_id;
  view.epoch = config_.epoch;
  view.trouble = trouble_;
  for (const auto& [id, node] : nodes_.nodes()) {
    PoolRow row;
    row.pool = node.identity;
    row.load = node.load;
    row.standing = node.standing;
    row.silent_ms = static_cast<std::uint64_t>((now - node.last_heard) / 1'000'000);
    row.draining = node.standing == Standing::kAlive && Drains(id, node.identity.incarnation);
    view.pools.push_back(std::move(row));
  }
  if (placement) placement_.Show(now, &view);
  return view;
}

std::string Describe(const Action& action) {
  struct Printer {
    static std::string Reply(const char* what, std::uint64_t token, Verdict verdict) {
      static constexpr const char* kNames[] = {"ok", "register_again", "superseded", "refused", "unavailable"};
      return std::string(what) + " " + std::to_string(token) + " " + kNames[static_cast<int>(verdict)];
    }
    static std::string Name(const PoolIdentity& pool) { return pool.pool_id + "/" + std::to_string(pool.incarnation); }
    std::string operator()(const ReplyRegister& a) const { return Reply("reply_register", a.token, a.verdict); }
    std::string operator()(const ReplyHeartbeat& a) const {
      std::string text = Reply("reply_heartbeat", a.token, a.verdict);
      for (const GrantInfo& grant : a.grants)
        text += " " + std::to_string(grant.id) + ":" + grant.lender + "x" + std::to_string(grant.slots);
      for (const CreditInfo& credit : a.credits)
        text += " " + std::to_string(credit.grant.id) + " for " + std::to_string(credit.parked);
      return text;
    }
    std::string operator()(const ReplyDrain& a) const { return Reply("reply_drain", a.token, a.verdict); }
    std::string operator()(const ReplyLeave& a) const { return Reply("reply_leave", a.token, a.verdict); }
    std::string operator()(const StorePool& a) const { return "store " + Name(a.pool); }
    std::string operator()(const ErasePool& a) const { return "erase " + a.pool_id; }
    std::string operator()(const StoreGrants& a) const {
      std::string text = "store_grants";
      for (const GrantRecord& grant : a.put) text += " +" + std::to_string(grant.id);
      for (const std::uint64_t grant : a.erase) text += " -" + std::to_string(grant);
      return text;
    }
    std::string operator()(const PoolJoined& a) const { return "joined " + Name(a.pool); }
    std::string operator()(const PoolGone& a) const { return "gone " + Name(a.pool) + " " + a.why; }
  };
  return std::visit(Printer{}, action);
}

}  // namespace sheaf::scheduler
