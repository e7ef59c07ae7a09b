#include "worker/relay/directory.h"

#include "base/check.h"

namespace sheaf::relay {

void Directory::Detach(Node& node) {
  if (!node.reads) return;
  node.reads = false;
  if (node.parent == kRoot) {
    SHEAF_CHECK(root_readers_ > 0);
    --root_readers_;
    return;
  }
  const auto parent = nodes_.find(node.parent);
  if (parent == nodes_.end()) return;  // it has left
  SHEAF_CHECK(parent->second.readers > 0);
  --parent->second.readers;
}

bool Directory::HangsBelow(Member member, Member ancestor) const {
  for (auto at = nodes_.find(member); at != nodes_.end() && at->second.reads; at = nodes_.find(at->second.parent))
    if (at->second.parent == ancestor) return true;
  return false;
}

bool Directory::Locate(Member member, const std::string& address, Member failed, Holder* holder) {
  auto self = nodes_.find(member);
  if (self == nodes_.end()) {
    if (nodes_.size() >= limits_.members || member == kRoot) return false;
    self = nodes_.emplace(member, Node{}).first;
    self->second.joined = ++joined_;
    by_age_[joined_] = member;
  }
  Node& node = self->second;
  node.address = address;
  node.complete = false;
  Detach(node);
  if (failed != kRoot && !limits_.bug_forgets_failures) {
    node.failed.insert(failed);
    // A complete one does not answer any more: nobody need find that out again.
    if (const auto at = nodes_.find(failed); at != nodes_.end() && at->second.complete) {
      by_age_.erase(at->second.joined);
      nodes_.erase(at);
    }
  }
  Member chosen = kRoot;
  bool found = root_readers_ == 0, near = false;
  for (const auto& [age, other] : by_age_) {
    if (near) break;
    const Node& at = nodes_.at(other);
    if (other == member || at.address.empty() || node.failed.contains(other)) continue;
    if (at.readers > 0 && !limits_.bug_counts_no_readers) continue;
    if (!at.complete && !at.reads) continue;  // has lost its own holder, and may come back for this one
    const bool same_machine = !address.empty() && at.address == address;
    if (found && !same_machine) continue;
    if (HangsBelow(other, member) && !limits_.bug_ignores_descendants) continue;
    chosen = other;
    found = true;
    near = same_machine;
  }
  node.parent = chosen;
  node.reads = true;
  *holder = {chosen, {}};
  if (chosen == kRoot) {
    ++root_readers_;
  } else {
    Node& parent = nodes_.at(chosen);
    ++parent.readers;
    holder->address = parent.address;
  }
  return true;
}

void Directory::Done(Member member) {
  const auto self = nodes_.find(member);
  if (self == nodes_.end()) return;
  Detach(self->second);
  self->second.complete = true;
}

void Directory::Leave(Member member) {
  const auto self = nodes_.find(member);
  if (self == nodes_.end() || (self->second.complete && !self->second.address.empty())) return;
  Detach(self->second);
  by_age_.erase(self->second.joined);
  nodes_.erase(self);
}

}  // namespace sheaf::relay
