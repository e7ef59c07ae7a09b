#include "worker/relay/fetcher.h"

#include <sys/random.h>

#include <algorithm>
#include <thread>
#include <utility>

namespace sheaf::relay {
namespace {

constexpr int kAtATime = 2;

}  // namespace

Fetcher::Fetcher(runtime::Context& context, TransferDesk& desk, std::string pki)
    : context_(context), desk_(desk), pki_(std::move(pki)) {
  // They end with the process, as everything of a half does.
  for (int i = 0; i < kAtATime; ++i) std::thread([this] { Loop(); }).detach();
}

void Fetcher::Add(Name name, FetchClass wanted, std::vector<OfferedBlock> blocks, bool serve, Then then,
                  MakeRoom make_room) {
  std::lock_guard lock(mutex_);
  waiting_.push_back({name, wanted, std::move(blocks), serve, std::move(then), std::move(make_room)});
  added_.notify_one();
}

void Fetcher::Raise(Name name) {
  std::lock_guard lock(mutex_);
  for (Value& value : waiting_)
    if (value.name == name) value.wanted = std::min(value.wanted, FetchClass::kInput);
}

void Fetcher::Let(Name name) {
  std::vector<TransferDesk::Token> tokens;
  {
    std::lock_guard lock(mutex_);
    const auto found = served_.find(name);
    if (found == served_.end()) return;
    tokens = std::move(found->second);
    served_.erase(found);
  }
  for (const TransferDesk::Token token : tokens) desk_.Withdraw(token);
}

bool Fetcher::FetchValue(const Value& value, std::string* why) {
  FetchOptions options;
  options.pki = pki_;
  if (getrandom(&options.member, sizeof options.member, 0) != sizeof options.member || options.member == 0)
    options.member = 1;
  options.streams = std::clamp(std::thread::hardware_concurrency(), 1u, 4u);
  for (const OfferedBlock& one : value.blocks) {
    TransferDesk::Token token = 0;
    if (value.serve) {
      const runtime::UniqueFd fd = context_.OpenDescriptor(one.block.loc.client, one.block.loc.segment);
      if (fd.get() >= 0)
        token = desk_.OfferPart(one.offer.key, fd.get(), one.block.loc.offset, one.block.size, options.member,
                                one.block.pin);
    }
    if (token != 0) {
      options.own_address = desk_.address();
      std::lock_guard lock(mutex_);
      served_[value.name].push_back(token);
    }
    const bool ok = FetchBlock(
        one.offer, one.to, options,
        [&](std::uint64_t ready) {
          if (token != 0) desk_.Progress(token, ready);
        },
        why);
    if (!ok) return false;
  }
  return true;
}

void Fetcher::Loop() {
  for (;;) {
    Value value;
    {
      std::unique_lock lock(mutex_);
      added_.wait(lock, [this] { return !waiting_.empty(); });
      const auto first = std::min_element(waiting_.begin(), waiting_.end(),
                                          [](const Value& a, const Value& b) { return a.wanted < b.wanted; });
      value = std::move(*first);
      waiting_.erase(first);
    }
    std::string why;
    const bool ok = (!value.make_room || value.make_room(&value.blocks, &why)) && FetchValue(value, &why);
    if (!ok) Let(value.name);
    value.then(ok, why);
  }
}

}  // namespace sheaf::relay
