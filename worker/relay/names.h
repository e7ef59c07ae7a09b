// Which object has which name on a relay's stream. The half that speaks of an object first names it; an object of the other
// half is here a promise until its value comes.
//
// The near half decides how long a name lives: forgotten there, it is named no more; the far half confirms; then it is gone.
// Between the two the far half may still have named it, so it is still known. Each half counts its names upwards, so that
// they lie in two rows in the order of their age. Thread-safe.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "sheaf/detail/abi.h"
#include "worker/relay/frame.h"

namespace sheaf::relay {

class Names {
 public:
  using Name = std::uint64_t;

  // `store_bytes`: of the smaller of both pools' stores, of which names hold an eighth; more of a small one.
  explicit Names(bool near, std::uint64_t store_bytes = kStoreUsual)
      : near_(near), bytes_max_(std::max(store_bytes / 8, std::min(kBytesMin, store_bytes / 4))) {}
  std::uint64_t bytes() const {
    std::lock_guard lock(mutex_);
    return bytes_;
  }

  // `result`: of a task. Nobody may ever speak of it again: it is kept for a moment only, unless it is spoken of.
  Name BindNext(const detail::ObjectId& id, detail::RefCore ref, std::int64_t now, bool result = false);
  Name Find(const detail::ObjectId& id, std::int64_t now);  // 0: it has none (any more)
  // False: a name so far from all others that the other half cannot have given it.
  bool Bind(Name name, const detail::ObjectId& id, detail::RefCore ref, bool promised, std::int64_t now);
  // The object's ref; empty if the name is unknown, or names nothing that this half keeps.
  detail::RefCore RefOf(Name name, bool* known = nullptr);
  detail::ObjectId IdOf(Name name, bool* known);
  bool TakePromise(Name name, detail::RefCore* ref);  // true: its value may be given now, by the caller
  void Settle(Name name, std::uint64_t bytes);
  void Erase(Name name);
  // Names whose objects nobody spoke of for long, or that hold too many bytes: forgotten from now on. At most `most`.
  std::vector<Name> Forget(std::int64_t now, std::size_t most);

 private:
  // How long what nobody speaks of is kept: the less, the more there is.
  static constexpr std::int64_t kIdleNanos = 5'000'000'000, kFullNanos = 1'000'000'000, kBusyNanos = 100'000'000,
                                kResultNanos = 500'000'000;
  static constexpr std::uint64_t kBytesMin = 256 << 20, kStoreUsual = std::uint64_t{1} << 30;
  static constexpr std::size_t kNamesMax = 16'384, kAheadMax = 1 << 20, kRowMax = 2 * kNamesMax;
  struct Entry {
    detail::ObjectId id;
    detail::RefCore ref;  // empty in the near half for what it need not keep
    std::uint64_t bytes = 0;
    std::int64_t used = 0;
    bool alive = false;
    bool promised = false;  // the other half's, and its value has not come
    bool settled = false;   // both halves have the value
    bool forgotten = false;
    bool result = false;  // of a task, and not spoken of since
  };
  struct Row {
    Name first = 1;  // of entries.front()
    std::deque<Entry> entries;
    std::size_t sweep = 0;      // where the next look for idle names begins
    std::map<Name, Entry> old;  // alive, and older than all entries: what lives long must not keep what came after it
  };
  // By home slot, in pages: the slots of one process are handed out in a row, so that neighbours are looked for together.
  class Index {
   public:
    Name Find(const detail::ObjectId& id) const;  // 0: none
    void Put(const detail::ObjectId& id, Name name);
    void Remove(const detail::ObjectId& id, Name name);  // if it still has that name

   private:
    static constexpr std::uint32_t kSlots = 64;
    struct Page {
      std::array<Name, kSlots> names{};
      std::array<std::uint32_t, kSlots> generations{};
      std::uint32_t used = 0;
    };
    static std::uint64_t KeyOf(const detail::ObjectId& id) { return std::uint64_t{id.client} << 32 | id.slot / kSlots; }
    absl::flat_hash_map<std::uint64_t, std::unique_ptr<Page>> pages_;
  };
  Row& RowOf(Name name) { return rows_[name & kFarNames ? 1 : 0]; }
  bool BindLocked(Name name, const detail::ObjectId& id, detail::RefCore ref, bool promised, std::int64_t now);
  Entry* At(Name name);  // nullptr: it is not alive
  void Unname(const Entry& entry, Name name);
  static void Shorten(Row* row);
  bool MayForget(const Entry& entry, std::int64_t now, std::uint64_t bytes, std::size_t more) const;

  const bool near_;
  const std::uint64_t bytes_max_;
  mutable std::mutex mutex_;
  Row rows_[2];
  Name given_ = 0;
  Index names_;
  std::uint64_t bytes_ = 0, alive_ = 0;
  std::int64_t looked_at_old_ = 0;
};

}  // namespace sheaf::relay
