// Who holds the bytes of one key, complete or in part, and whom the next fetcher asks. A core: no I/O, no clock.
//
// Fetchers hang below each other: the first server is the root; who comes next reads from the oldest holder that nobody
// reads from, so that n machines form a chain and no link carries the bytes twice. Pipelined broadcast after Hoplite (S. Zhuang
// et al., SIGCOMM 2021, section 4.3), with the directory at the source instead of a service of its own.
//
// Invariant: following parents always leads to the root or to a holder that is complete.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>

namespace sheaf::relay {

class Directory {
 public:
  using Member = std::uint64_t;
  static constexpr Member kRoot = 0;
  struct Holder {
    Member member = kRoot;
    std::string address;  // of the root: empty
  };
  struct Limits {
    std::size_t members = 4096;
    bool bug_ignores_descendants = false, bug_forgets_failures = false, bug_counts_no_readers = false;  // for tests
  };

  Directory() = default;
  explicit Directory(Limits limits) : limits_(limits) {}

  // Whom `member` reads from. `address`: where it serves what it has; empty: it does not. `failed`: the holder it was given
  // before has not served it, and is not given to it again. False: the directory is full.
  bool Locate(Member member, const std::string& address, Member failed, Holder* holder);
  void Done(Member member);   // has all of it and reads no more
  void Leave(Member member);  // its line has ended; a complete one stays
  std::size_t size() const { return nodes_.size(); }

 private:
  struct Node {
    std::string address;
    std::uint64_t joined = 0;
    Member parent = kRoot;
    bool reads = false, complete = false;
    std::uint32_t readers = 0;
    std::set<Member> failed;
  };
  void Detach(Node& node);
  bool HangsBelow(Member member, Member ancestor) const;

  Limits limits_;
  std::map<Member, Node> nodes_;
  std::map<std::uint64_t, Member> by_age_;
  std::uint64_t joined_ = 0;
  std::uint32_t root_readers_ = 0;
};

}  // namespace sheaf::relay
