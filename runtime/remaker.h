// Makes again what a dead client still owed to values of ours (docs/decisions/0011-heirs.md), and blocks of theirs that lay on
// another machine (0012).
//
// Helper thread only. Values are read in place, under Context::lookers; what is read stays, as the value that leads there is
// pinned. Never waits: Advance looks at what has happened meanwhile, and is called again soon while something is open (each
// heir is a promise, which the helper thread counts as outstanding).
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "runtime/context.h"

namespace sheaf::runtime {

class Remaker {
 public:
  explicit Remaker(Context& context) : context_(context) {}

  // After the submitter has read what the client published. Names heirs, and tells the pool that these are all.
  void PeerGone(std::uint32_t client);
  void PeerForgotten(std::uint32_t client);
  // Fulfils heirs; lets go of the arguments of tasks whose values speak of nothing unfinished any more.
  void Advance(std::int64_t now);
  bool busy() const { return !remakes_.empty(); }

 private:
  using Seen = std::set<std::pair<std::uint32_t, std::uint32_t>>;  // slots and generations
  // Which ref of the value, which ref of that one's value, ...; and what marks each of these values had.
  struct Step {
    std::uint32_t ref;
    std::size_t marks;  // a hash
  };
  using Path = std::vector<Step>;
  struct Owed {
    RefCore ref;   // by its old name
    Path path;     // where it stands in the value
    RefCore heir;  // empty: fulfilled
  };
  struct LostBlock {
    std::uint32_t client, segment;
    std::uint64_t size;
    std::size_t at;  // in the payload
  };
  struct Remake {
    Remembered task;
    RefCore again;  // its second run, once that is needed
    std::vector<Owed> owed;
    std::vector<LostBlock> blocks;  // claimed, and nothing stands in for them yet
    RefCore promise;                // with blocks: counts as something that this process has to do
    std::vector<Pin> stands_in;     // for blocks
    std::size_t open = 0;           // of `owed`
    std::size_t next = 0;           // where the next look begins
    // Once it has run again:
    bool done = false;
    detail::Stored value;
    std::vector<const std::byte*> refs;
    std::size_t marks = 0;
    bool asked = false;  // in this turn, whether it has
  };
  enum class Place { kWaits, kFound, kElsewhere };

  detail::Stored ValueOf(const ObjectRoot& root, Pin pin) const;
  // Objects of `client` without a value that the value leads to, through objects of the same client. `owed` nullptr: whether
  // there are any.
  bool FindOwed(const detail::Stored& value, std::uint32_t client, const Path& path, const Seen& inputs, Seen* seen,
                std::vector<Owed>* owed) const;
  Seen InputsOf(const Remembered& task) const;
  Place FindPlace(const Remake& remake, const Owed& owed, RefCore* found) const;
  void Advance(Remake& remake, std::size_t looks);
  bool TryFulfil(Remake& remake, Owed& owed);
  bool RanAgain(Remake& remake);
  void Fulfil(Owed& owed, const detail::Stored& value);
  void KeepPromise(Owed& owed, detail::Encoder& value, std::uint32_t flags);
  void FulfilLost(Owed& owed, const std::string& why);
  void LookAtRemembered(std::int64_t now);
  // Blocks of a value that were away when it was made, with `client`; 0: with anybody.
  std::vector<LostBlock> AwayBlocksOf(const detail::Stored& value, std::uint32_t client) const;
  static std::vector<LostBlock> BlocksOf(const detail::Stored& value);
  void ClaimBlocks(const std::vector<LostBlock>& blocks, std::uint32_t dead);
  bool SameBlocksBeside(const detail::Stored& old, const detail::Stored& value) const;
  bool AnyIsHere(std::uint32_t dead, const std::vector<LostBlock>& blocks) const;
  bool TryReplaceBlocks(Remake& remake);  // false: its task has not run again yet
  void ReplaceBlock(std::uint32_t dead, const LostBlock& block, const detail::Stored& value, std::vector<Pin>* copies);
  void SayLost(std::uint32_t dead, const LostBlock& block, const std::string& why);

  Context& context_;
  std::vector<Remake> remakes_;
  std::map<std::uint32_t, std::vector<Pin>> heirs_of_;  // until kForgotten: any client may read through them
};

}  // namespace sheaf::runtime
