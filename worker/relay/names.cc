#include "worker/relay/names.h"

#include <algorithm>

namespace sheaf::relay {

using detail::ObjectId;
using detail::RefCore;

Names::Name Names::Index::Find(const ObjectId& id) const {
  const auto page = pages_.find(KeyOf(id));
  const std::uint32_t at = id.slot % kSlots;
  return page == pages_.end() || page->second->generations[at] != id.generation ? 0 : page->second->names[at];
}

void Names::Index::Put(const ObjectId& id, Name name) {
  std::unique_ptr<Page>& page = pages_[KeyOf(id)];
  if (!page) page = std::make_unique<Page>();
  const std::uint32_t at = id.slot % kSlots;
  page->used += page->names[at] == 0;
  page->names[at] = name;
  page->generations[at] = id.generation;
}

void Names::Index::Remove(const ObjectId& id, Name name) {
  const auto page = pages_.find(KeyOf(id));
  const std::uint32_t at = id.slot % kSlots;
  if (page == pages_.end() || page->second->names[at] != name || page->second->generations[at] != id.generation) return;
  page->second->names[at] = 0;
  if (--page->second->used == 0) pages_.erase(page);
}

Names::Entry* Names::At(Name name) {
  Row& row = RowOf(name);
  const Name number = name & ~kFarNames;
  if (number < row.first) {
    const auto found = row.old.find(number);
    return found == row.old.end() ? nullptr : &found->second;
  }
  const Name index = number - row.first;
  if (index >= row.entries.size() || !row.entries[index].alive) return nullptr;
  return &row.entries[index];
}

Names::Name Names::Find(const ObjectId& id, std::int64_t now) {
  std::lock_guard lock(mutex_);
  const Name name = names_.Find(id);
  if (name == 0) return 0;
  Entry* entry = At(name);
  entry->used = now;
  entry->result = false;
  return name;
}

Names::Name Names::BindNext(const ObjectId& id, RefCore ref, std::int64_t now, bool result) {
  std::lock_guard lock(mutex_);
  const Name name = ++given_ | (near_ ? 0 : kFarNames);
  BindLocked(name, id, std::move(ref), false, now);
  At(name)->result = result;
  return name;
}

bool Names::Bind(Name name, const ObjectId& id, RefCore ref, bool promised, std::int64_t now) {
  std::lock_guard lock(mutex_);
  return BindLocked(name, id, std::move(ref), promised, now);
}

bool Names::BindLocked(Name name, const ObjectId& id, RefCore ref, bool promised, std::int64_t now) {
  Row& row = RowOf(name);
  const Name index = (name & ~kFarNames) - row.first;  // of one that is over: far too large
  if (index >= row.entries.size() + kAheadMax) return false;
  while (index >= row.entries.size()) row.entries.emplace_back();
  Entry& entry = row.entries[index];
  alive_ += entry.alive ? 0 : 1;
  entry = {id, std::move(ref), 0, now, true, promised, false, false, false};
  names_.Put(id, name);
  return true;
}

RefCore Names::RefOf(Name name, bool* known) {
  std::lock_guard lock(mutex_);
  const Entry* entry = At(name);
  if (known) *known = entry != nullptr;
  return entry ? entry->ref : RefCore{};
}

ObjectId Names::IdOf(Name name, bool* known) {
  std::lock_guard lock(mutex_);
  const Entry* entry = At(name);
  *known = entry != nullptr;
  return entry ? entry->id : ObjectId{};
}

bool Names::TakePromise(Name name, RefCore* ref) {
  std::lock_guard lock(mutex_);
  Entry* entry = At(name);
  if (!entry || !entry->promised) return false;
  entry->promised = false;
  *ref = entry->ref;
  return true;
}

void Names::Settle(Name name, std::uint64_t bytes) {
  std::lock_guard lock(mutex_);
  Entry* entry = At(name);
  if (!entry || entry->settled) return;
  entry->settled = true;
  entry->bytes = bytes;
  bytes_ += bytes;
}

void Names::Unname(const Entry& entry, Name name) { names_.Remove(entry.id, name); }

void Names::Erase(Name name) {
  RefCore last;  // freed outside of the lock
  std::lock_guard lock(mutex_);
  Entry* entry = At(name);
  if (!entry) return;
  Unname(*entry, name);
  if (entry->settled) bytes_ -= entry->bytes;
  last = std::move(entry->ref);
  entry->alive = false;
  --alive_;
  Row& row = RowOf(name);
  row.old.erase(name & ~kFarNames);
  Shorten(&row);
}

void Names::Shorten(Row* row) {
  while (!row->entries.empty() && (!row->entries.front().alive || row->entries.size() > kRowMax)) {
    if (row->entries.front().alive) row->old.emplace(row->first, std::move(row->entries.front()));
    row->entries.pop_front();
    ++row->first;
    if (row->sweep > 0) --row->sweep;
  }
}

// `bytes`, `more`: that would be left, and names that are forgotten already.
bool Names::MayForget(const Entry& entry, std::int64_t now, std::uint64_t bytes, std::size_t more) const {
  if (!entry.alive || !entry.settled || entry.forgotten) return false;
  const bool too_many = bytes > bytes_max_ || alive_ - more > kNamesMax;
  std::int64_t idle = too_many ? kBusyNanos : bytes > bytes_max_ / 2 ? kFullNanos : kIdleNanos;
  if (entry.result) idle = std::min(idle, kResultNanos);
  return now - entry.used >= idle;
}

std::vector<Names::Name> Names::Forget(std::int64_t now, std::size_t most) {
  constexpr std::size_t kLooks = 16'384;
  std::vector<Name> over;
  std::lock_guard lock(mutex_);
  std::uint64_t bytes = bytes_;
  const bool look_at_old = now - looked_at_old_ > kResultNanos;
  if (look_at_old) looked_at_old_ = now;
  for (const bool far : {false, true}) {
    Row& row = rows_[far ? 1 : 0];
    const auto forget = [&](Entry& entry, Name number) {
      if (!MayForget(entry, now, bytes, over.size())) return;
      entry.forgotten = true;
      bytes -= entry.bytes;
      const Name name = number | (far ? kFarNames : 0);
      Unname(entry, name);
      over.push_back(name);
    };
    for (auto at = row.old.begin(); look_at_old && at != row.old.end() && over.size() < most; ++at)
      forget(at->second, at->first);
    // Round and round: a busy row grows at its end faster than a look comes by.
    const std::size_t looks = std::min(kLooks, row.entries.size());
    for (std::size_t look = 0; look < looks && over.size() < most; ++look, ++row.sweep) {
      if (row.sweep >= row.entries.size()) row.sweep = 0;
      forget(row.entries[row.sweep], row.first + row.sweep);
    }
  }
  return over;
}

}  // namespace sheaf::relay
