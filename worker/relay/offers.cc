#include "worker/relay/offers.h"

#include <cstring>
#include <utility>

namespace sheaf::relay {

std::optional<BlockOffer> Offers::Make(const store::BlockRecord& block, const detail::Pin& pin) {
  if (block.size < kOfferMin || block.size > kBlockMax || desk_.address().empty()) return std::nullopt;
  const runtime::UniqueFd fd = context_.OpenDescriptor(block.loc.client, block.loc.segment);
  if (fd.get() < 0) return std::nullopt;
  TransferDesk::Token token = 0;
  auto offer = desk_.Offer(fd.get(), block.loc.offset, block.size, pin, &token);
  if (offer) made_.push_back(token);
  return offer;
}

bool Offers::TakeFromAfar(const store::BlockRecord& block, const runtime::Context::AwayOffer& offer) {
  BlockOffer passed{};
  static_assert(sizeof passed == sizeof offer);
  std::memcpy(&passed, offer.data(), sizeof passed);
  if (passed.bytes != block.size || block.loc.offset != 0 || !CheckOffer(passed).empty()) return false;
  from_afar_[{block.loc.client, block.loc.segment}] = passed;
  return true;
}

void Offers::ForgetAfar(const store::BlockRecord& block) { from_afar_.erase({block.loc.client, block.loc.segment}); }

std::optional<BlockOffer> Offers::PassOn(const store::BlockRecord& block) {
  const auto found = from_afar_.find({block.loc.client, block.loc.segment});
  if (found == from_afar_.end()) return std::nullopt;
  const BlockOffer offer = found->second;
  from_afar_.erase(found);
  passed_on_ = true;
  return offer;
}

bool Offers::Keep(Name name, detail::Stored value, std::uint64_t bytes) {
  if (!std::exchange(passed_on_, false) && made_.empty()) return false;
  std::lock_guard lock(mutex_);
  entries_[name] = {{std::move(value), bytes}, std::exchange(made_, {})};
  return true;
}

std::optional<Offers::Kept> Offers::Take(Name name) {
  Entry entry;
  {
    std::lock_guard lock(mutex_);
    const auto found = entries_.find(name);
    if (found == entries_.end()) return std::nullopt;
    entry = std::move(found->second);
    entries_.erase(found);
  }
  for (const TransferDesk::Token token : entry.tokens) desk_.Withdraw(token);
  return std::move(entry.kept);
}

bool Offers::empty() const {
  std::lock_guard lock(mutex_);
  return entries_.empty();
}

}  // namespace sheaf::relay
