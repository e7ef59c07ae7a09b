// What a half has offered and the other half has yet to fetch: the blocks stay until it says so. Thread-safe.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "runtime/context.h"
#include "sheaf/detail/abi.h"
#include "worker/relay/transfer_desk.h"

namespace sheaf::relay {

class Offers {
 public:
  using Name = std::uint64_t;
  Offers(runtime::Context& context, TransferDesk& desk) : context_(context), desk_(desk) {}

  // Offers a block of the value that is being written, if that is worth it and possible. One thread writes values.
  std::optional<BlockOffer> Make(const store::BlockRecord& block, const detail::Pin& pin);
  // A block that lies on a third machine may be passed on, in the value that is written next, as that one has offered it. False: it
  // may not.
  bool TakeFromAfar(const store::BlockRecord& block, const runtime::Context::AwayOffer& offer);
  void ForgetAfar(const store::BlockRecord& block);  // it is here, or lost
  std::optional<BlockOffer> PassOn(const store::BlockRecord& block);
  // What was made or passed on since the last call belongs to `name`. False: nothing was. `bytes`: of the whole value.
  bool Keep(Name name, detail::Stored value, std::uint64_t bytes);
  struct Kept {
    detail::Stored value;
    std::uint64_t bytes = 0;
  };
  // Takes the offers of `name` back. Nothing: it has none.
  std::optional<Kept> Take(Name name);
  bool empty() const;

 private:
  struct Entry {
    Kept kept;
    std::vector<TransferDesk::Token> tokens;
  };
  runtime::Context& context_;
  TransferDesk& desk_;
  std::vector<TransferDesk::Token> made_;
  bool passed_on_ = false;
  std::map<std::pair<std::uint32_t, std::uint32_t>, BlockOffer> from_afar_;  // by client and segment
  mutable std::mutex mutex_;
  std::map<Name, Entry> entries_;
};

}  // namespace sheaf::relay
