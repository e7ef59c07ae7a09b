// The values that a half fetches: two at a time, the most wanted first. docs/decisions/0009.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <vector>

#include "runtime/context.h"
#include "sheaf/detail/abi.h"
#include "worker/relay/fetch.h"
#include "worker/relay/transfer_desk.h"

namespace sheaf::relay {

struct OfferedBlock {
  BlockOffer offer;
  detail::Block block;  // where it goes, in this process's memory
  std::byte* to = nullptr;
};

enum class FetchClass { kResult, kInput, kPrefetch };  // most wanted first

class Fetcher {
 public:
  using Name = std::uint64_t;
  // Called once, on a thread of the fetcher; may block.
  using Then = std::function<void(bool ok, const std::string& why)>;
  Fetcher(runtime::Context& context, TransferDesk& desk, std::string pki);

  // Makes room for the blocks, before anything is fetched; the same thread. False: *why.
  using MakeRoom = std::function<bool(std::vector<OfferedBlock>* blocks, std::string* why)>;
  // `serve`: others may read from here while it comes, and until Let(name). `make_room`: if `blocks` have none yet.
  void Add(Name name, FetchClass wanted, std::vector<OfferedBlock> blocks, bool serve, Then then,
           MakeRoom make_room = {});
  void Raise(Name name);  // a task waits for it
  void Let(Name name);    // the value is not needed here any more

 private:
  struct Value {
    Name name = 0;
    FetchClass wanted = FetchClass::kPrefetch;
    std::vector<OfferedBlock> blocks;
    bool serve = false;
    Then then;
    MakeRoom make_room;
  };
  void Loop();
  bool FetchValue(const Value& value, std::string* why);

  runtime::Context& context_;
  TransferDesk& desk_;
  const std::string pki_;
  std::mutex mutex_;
  std::condition_variable added_;
  std::list<Value> waiting_;
  std::map<Name, std::vector<TransferDesk::Token>> served_;
};

}  // namespace sheaf::relay
