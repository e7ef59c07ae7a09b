#include "runtime/remaker.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <string_view>

#include "runtime/getter.h"
#include "runtime/home_value.h"
#include "runtime/look.h"
#include "runtime/prober.h"
#include "sheaf/error.h"

namespace sheaf::runtime {

using detail::Encoder;
using detail::Stored;
using store::HomeWord;

namespace {

constexpr std::size_t kDepthMax = 64;
constexpr std::size_t kRefBytes = 16;
constexpr std::size_t kRememberedAtOnce = 64, kLooksAtOnce = 1024;

// The records of refs in a value, in the order in which they were written.
std::vector<const std::byte*> RefsOf(const Stored& value) {
  std::vector<const std::byte*> refs;
  for (std::size_t at = 0; at + sizeof(std::uint32_t) <= value.marks.size(); at += sizeof(std::uint32_t)) {
    std::uint32_t mark = 0;
    std::memcpy(&mark, value.marks.data() + at, sizeof mark);
    const std::size_t offset = mark & ~Encoder::kMarkRef;
    if ((mark & Encoder::kMarkRef) && offset + kRefBytes <= value.payload.size())
      refs.push_back(value.payload.data() + offset);
  }
  return refs;
}

std::size_t HashOf(std::span<const std::byte> bytes) {
  return std::hash<std::string_view>()({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

RefCore RefAt(const std::byte* record, const Pin& through) {
  return detail::Decoder({record, kRefBytes}, through).TakeRef();
}

}  // namespace

Stored Remaker::ValueOf(const ObjectRoot& root, Pin pin) const {
  const store::HomeSlot& home = context_.submitter().HomeOf(root);
  const HomeWord word = HomeWord::Unpack(home.word.load(std::memory_order_acquire));
  return MakeStored(context_, word.flags, home.payload, home.size, std::move(pin), detail::kWhole);
}

bool Remaker::FindOwed(const Stored& value, std::uint32_t client, const Path& path, const Seen& inputs, Seen* seen,
                       std::vector<Owed>* owed) const {
  if (path.size() >= kDepthMax) return false;
  const auto refs = RefsOf(value);
  const std::size_t marks = HashOf(value.marks);
  for (std::uint32_t i = 0; i < refs.size(); ++i) {
    std::uint32_t words[4];
    std::memcpy(words, refs[i], sizeof words);
    const ObjectId id{words[0], words[1], words[2]};
    const std::pair place{id.slot, id.generation};
    if (id.client != client || inputs.contains(place) || !seen->insert(place).second) continue;
    Path here = path;
    here.push_back({i, marks});
    PayloadCopy copy;
    const Probed probed = ProbeHome(context_, id, &copy);
    if (probed.state != Probed::kValue) {
      if (!owed) return true;
      owed->push_back({RefAt(refs[i], value.pin), std::move(here), {}});
      continue;
    }
    if ((probed.flags & store::kFlagError) || !(probed.flags & store::kFlagMarked)) continue;
    const auto* payload = probed.in_place ? probed.in_place : reinterpret_cast<const std::byte*>(copy.data());
    try {
      const Stored inner = MakeStored(context_, probed.flags, payload, probed.size, value.pin, detail::kWhole);
      if (FindOwed(inner, client, here, inputs, seen, owed) && !owed) return true;
    } catch (const Error&) {  // its memory is gone: whoever reads it is told so
    }
  }
  return owed && !owed->empty();
}

// What the task was given is not its to make: whoever made it has ended earlier, or is remembered by another submitter.
Remaker::Seen Remaker::InputsOf(const Remembered& task) const {
  Seen inputs;
  Submitter::Lock lock(context_.submitter());
  if (!task.root->extra) return inputs;
  for (const Pin& hold : task.root->extra->holds) {
    if (hold.get()->kind != kForeignRoot) continue;
    const ObjectId& id = static_cast<const ForeignRoot*>(hold.get())->id;
    if (id.client == task.made_by) inputs.insert({id.slot, id.generation});
  }
  return inputs;
}

void Remaker::PeerGone(std::uint32_t client) {
  std::vector<Remembered> tasks;
  {
    Submitter::Lock lock(context_.submitter());
    tasks = context_.submitter().TakeRememberedLocked(client);
  }
  Seen seen;  // by all of them: an object has one heir
  std::vector<wire::HeirEntry> entries;
  wire::PeerName dead{};
  dead.peer = client;
  const auto tell = [&] {
    context_.socket().Send(dead, wire::Kind::kHeirs, std::as_bytes(std::span(entries)));
    entries.clear();
  };
  for (Remembered& task : tasks) {
    Remake remake;
    remake.task = std::move(task);
    try {
      const Seen inputs = InputsOf(remake.task);
      {
        const Look look(context_);
        const Stored value = ValueOf(*remake.task.root, remake.task.pin);
        FindOwed(value, client, {}, inputs, &seen, &remake.owed);
        if (remake.task.away) remake.blocks = AwayBlocksOf(value, client);
      }
      if (!remake.blocks.empty()) remake.promise = context_.submitter().Promise();
      ClaimBlocks(remake.blocks, client);
      for (Owed& owed : remake.owed) {
        owed.heir = context_.submitter().Promise();
        ++remake.open;
        heirs_of_[client].push_back(owed.heir.pin);
        const ObjectId from = IdOf(context_, *owed.ref.pin.get()), to = IdOf(context_, *owed.heir.pin.get());
        entries.push_back({from.slot, from.generation, to.client, to.slot, to.generation});
        if (entries.size() == wire::kHeirEntriesMax) tell();
      }
    } catch (const Error&) {  // no memory for promises: what has no heir is lost
    }
    remakes_.push_back(std::move(remake));
  }
  if (!entries.empty()) tell();
  context_.socket().Send(dead, wire::Kind::kHeirsTold);
}

void Remaker::PeerForgotten(std::uint32_t client) { heirs_of_.erase(client); }

// ---- fulfilling heirs -------------------------------------------------------------------------------------------

void Remaker::KeepPromise(Owed& owed, Encoder& value, std::uint32_t flags) {
  HomeValue home = StoreHome(context_, value, flags);
  const RefCore heir = std::move(owed.heir);
  owed.heir = {};
  context_.submitter().KeepPromise(static_cast<ObjectRoot*>(heir.pin.get()), home.flags,
                                   std::as_bytes(std::span(home.payload)).first(home.size), std::move(home.holds));
  context_.RingOwn();
  context_.RingAwaiting();
}

// A copy of the value's own bytes. What they name is pinned through the object that they are from.
void Remaker::Fulfil(Owed& owed, const Stored& value) {
  Encoder copy;
  std::size_t at = 0;
  for (std::size_t i = 0; i + sizeof(std::uint32_t) <= value.marks.size(); i += sizeof(std::uint32_t)) {
    std::uint32_t mark = 0;
    std::memcpy(&mark, value.marks.data() + i, sizeof mark);
    const std::size_t offset = mark & ~Encoder::kMarkRef;
    if (offset < at || offset > value.payload.size()) return FulfilLost(owed, "its second value is damaged");
    copy.Raw(value.payload.data() + at, offset - at);
    copy.Mark(mark & Encoder::kMarkRef);
    at = offset;
  }
  copy.Raw(value.payload.data() + at, value.payload.size() - at);
  if (!value.marks.empty()) copy.holds().push_back(value.pin);
  KeepPromise(owed, copy, value.error ? store::kFlagError : 0);
}

void Remaker::FulfilLost(Owed& owed, const std::string& why) {
  Encoder error;
  detail::EncodeRuntimeError(
      "ObjectLostError", "the process that this object was with ended before it had its value; " + why, {"", 1}, error);
  KeepPromise(owed, error, store::kFlagError);
}

// What stands there now. kElsewhere: the values on the way do not look like the first ones, or name what is lost again.
Remaker::Place Remaker::FindPlace(const Remake& remake, const Owed& owed, RefCore* found) const {
  Stored value = remake.value;
  std::vector<const std::byte*> inner;
  for (std::size_t depth = 0;; ++depth) {
    const Step& step = owed.path[depth];
    if ((depth == 0 ? remake.marks : HashOf(value.marks)) != step.marks) return Place::kElsewhere;
    if (depth > 0) inner = RefsOf(value);
    const auto& refs = depth == 0 ? remake.refs : inner;
    if (step.ref >= refs.size()) return Place::kElsewhere;
    *found = RefAt(refs[step.ref], value.pin);
    const ObjectId id = IdOf(context_, *found->pin.get());
    if (id.client == remake.task.made_by) {
      // An object that the first run did not make either. If it is owed, its heir may be the one that is fulfilled here.
      PayloadCopy copy;
      const Look look(context_);
      if (ProbeHome(context_, id, &copy).state != Probed::kValue) return Place::kElsewhere;
    }
    if (!ObjectIsReady(context_, *found)) return Place::kWaits;
    if (depth + 1 == owed.path.size()) return Place::kFound;
    value = FetchObject(context_, {found->pin, detail::kWhole}, kForever);
    if (value.error) return Place::kElsewhere;
  }
}

bool Remaker::RanAgain(Remake& remake) {
  if (!remake.again.pin) {
    Submitter::Lock lock(context_.submitter());
    remake.again = context_.submitter().RunAgainLocked(remake.task);
  }
  if (!ObjectIsReady(context_, remake.again)) return false;
  remake.value = FetchObject(context_, remake.again, kForever);
  remake.refs = RefsOf(remake.value);
  remake.marks = HashOf(remake.value.marks);
  return remake.done = true;
}

bool Remaker::TryFulfil(Remake& remake, Owed& owed) {
  PayloadCopy copy;
  const Probed probed = [&] {
    const Look look(context_);
    return ProbeHome(context_, IdOf(context_, *owed.ref.pin.get()), &copy);
  }();
  if (probed.state == Probed::kPending) return false;
  if (probed.state == Probed::kValue) {
    FulfilLost(owed, "but it has its value");  // which everybody finds first
    return true;
  }
  // Asked once a turn: of many that wait for the same run each would pump.
  if (!remake.done && (std::exchange(remake.asked, true) || !RanAgain(remake))) return false;
  if (remake.value.error) {
    Fulfil(owed, remake.value);
    return true;
  }
  RefCore found;
  const Place place = FindPlace(remake, owed, &found);
  if (place == Place::kWaits) return false;
  if (place == Place::kElsewhere || found.element != owed.ref.element) {
    FulfilLost(owed, "its task was run again, and returned something of another shape");
  } else {
    Fulfil(owed, FetchObject(context_, {found.pin, detail::kWhole}, kForever));
  }
  return true;
}

// Some of what is open. The helper thread has other things to do as well.
void Remaker::Advance(Remake& remake, std::size_t looks) {
  const std::size_t size = remake.owed.size();
  remake.asked = false;
  for (std::size_t seen = 0; seen < size && remake.open > 0 && looks > 0; ++seen) {
    Owed& owed = remake.owed[remake.next];
    remake.next = (remake.next + 1) % size;
    if (!owed.heir.pin) continue;
    --looks;
    try {
      if (TryFulfil(remake, owed)) --remake.open;
    } catch (const Error& error) {
      if (owed.heir.pin) FulfilLost(owed, std::string("making it again has failed: ") + error.what());
      --remake.open;
    }
  }
}

void Remaker::Advance(std::int64_t now) {
  // Each gets its share: what one waits for may be what another one makes.
  const std::size_t looks = std::max<std::size_t>(kLooksAtOnce / std::max<std::size_t>(remakes_.size(), 1), 1);
  for (std::size_t i = 0; i < remakes_.size();) {
    Advance(remakes_[i], looks);
    if (remakes_[i].open > 0 || !TryReplaceBlocks(remakes_[i])) {
      ++i;
      continue;
    }
    Remake over = std::move(remakes_[i]);
    remakes_.erase(remakes_.begin() + static_cast<std::ptrdiff_t>(i));
    Submitter::Lock lock(context_.submitter());
    context_.submitter().EndLineageLocked(over.task.root, std::move(over.stands_in));
    context_.submitter().DropLocked(std::move(over.task.pin));
  }
  LookAtRemembered(now);
}

void Remaker::LookAtRemembered(std::int64_t now) {
  std::vector<Remembered> due;
  std::vector<Pin> must_come;
  {
    Submitter::Lock lock(context_.submitter());
    due = context_.submitter().TakeRememberedLocked(now, kRememberedAtOnce);
    must_come = context_.submitter().TakeMustComeLocked();
  }
  for (const Pin& pin : must_come) {
    try {
      for (const LostBlock& block : AwayBlocksOf(ValueOf(*static_cast<const ObjectRoot*>(pin.get()), pin), 0))
        context_.WillRead(block.client, block.segment);
    } catch (const Error&) {  // it is lost already
    }
  }
  for (Remembered& task : due) {
    bool open = true;
    try {
      const Look look(context_);
      Seen seen;
      const Stored value = ValueOf(*task.root, task.pin);
      open = task.away || FindOwed(value, task.made_by, {}, InputsOf(task), &seen, nullptr);
      if (task.away && task.deep)
        for (const LostBlock& block : AwayBlocksOf(value, task.made_by)) context_.WillRead(task.made_by, block.segment);
    } catch (const Error&) {
      open = false;
    }
    Submitter::Lock lock(context_.submitter());
    if (open) {
      context_.submitter().RememberAgainLocked(task, now);
    } else {
      context_.submitter().ForgetLineageLocked(task.root);
    }
    context_.submitter().DropLocked(std::move(task.pin));
  }
}

}  // namespace sheaf::runtime
