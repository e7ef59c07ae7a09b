// Who reads from whom: chains without faults, no circles with them, and everybody ends with all of it.
#include "worker/relay/directory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/random.h"

namespace sheaf::relay {
namespace {

using Holder = Directory::Holder;

std::string AddressOf(std::uint64_t member) { return "m" + std::to_string(member); }

Holder Locate(Directory& directory, std::uint64_t member, std::uint64_t failed = 0, bool serves = true) {
  Holder holder;
  EXPECT_TRUE(directory.Locate(member, serves ? AddressOf(member) : "", failed, &holder));
  return holder;
}

TEST(Directory, MakesAChainOfThoseWhoComeWhileOthersRead) {
  Directory directory;
  EXPECT_EQ(Locate(directory, 1).member, 0u);
  EXPECT_EQ(Locate(directory, 2).member, 1u);
  EXPECT_EQ(Locate(directory, 3).member, 2u);
  EXPECT_EQ(Locate(directory, 3).address, "m2");
  directory.Done(1);  // the source has no reader now
  EXPECT_EQ(Locate(directory, 4).member, 0u);
}

TEST(Directory, AsksWhoeverHasItOnTheSameMachineFirst) {
  Directory directory;
  Locate(directory, 1);
  Locate(directory, 2);
  directory.Done(2);
  Holder holder;
  ASSERT_TRUE(directory.Locate(9, AddressOf(2), 0, &holder));
  EXPECT_EQ(holder.member, 2u);
}

TEST(Directory, NeverNamesOneThatServesNobody) {
  Directory directory;
  Locate(directory, 1, 0, false);
  EXPECT_EQ(Locate(directory, 2).member, 0u);
}

TEST(Directory, NamesAHolderThatFailedToNobodyWhomItFailed) {
  Directory directory;
  Locate(directory, 1);
  EXPECT_EQ(Locate(directory, 2).member, 1u);
  EXPECT_EQ(Locate(directory, 2, 1).member, 0u);
  EXPECT_EQ(Locate(directory, 2).member, 0u);
}

TEST(Directory, ForgetsACompleteHolderThatNoLongerAnswers) {
  Directory directory;
  Locate(directory, 1);
  directory.Done(1);
  EXPECT_EQ(directory.size(), 1u);
  Locate(directory, 2, 1);
  EXPECT_EQ(directory.size(), 1u);
}

TEST(Directory, IsFullAtItsLimit) {
  Directory directory(Directory::Limits{.members = 2});
  Holder holder;
  EXPECT_TRUE(directory.Locate(1, "a", 0, &holder));
  EXPECT_TRUE(directory.Locate(2, "b", 0, &holder));
  EXPECT_FALSE(directory.Locate(3, "c", 0, &holder));
  directory.Leave(1);
  EXPECT_TRUE(directory.Locate(3, "c", 0, &holder));
}

// Members that move by one part a step, lose their holders, die, or serve nobody any more.
class World {
 public:
  World(std::uint64_t seed, Directory::Limits limits) : random_(seed), directory_(limits) {}

  // Empty, or what went wrong.
  std::string Run() {
    const bool faults = random_.Below(4) != 0;
    const std::uint64_t members = 2 + random_.Below(11);
    for (std::uint64_t m = 1; m <= members; ++m) members_.push_back({.name = m});
    for (int step = 0; step < 3000; ++step) {
      Member& one = members_[random_.Below(members_.size())];
      if (one.dead || one.complete) continue;
      if (faults && step < 400 && random_.Below(40) == 0) {
        Fault(one);
        continue;
      }
      if (!one.holder) {
        if (const std::string wrong = Place(one, 0); !wrong.empty()) return wrong;
        continue;
      }
      const std::uint64_t has = Has(one.holder->member);
      if (has == kServesNobody) {
        if (const std::string wrong = Place(one, one.holder->member); !wrong.empty()) return wrong;
      } else if (has > one.parts) {
        if (++one.parts == kParts) {
          one.complete = true;
          directory_.Done(one.name);
        }
      }
      if (!faults && MostReaders() > 1) return "two read from one holder while another has none";
    }
    for (const Member& one : members_)
      if (!one.dead && !one.complete) return "a member waits for ever";
    return {};
  }

 private:
  static constexpr std::uint64_t kParts = 8, kServesNobody = ~std::uint64_t{0};
  struct Member {
    std::uint64_t name = 0;
    std::uint64_t parts = 0;
    std::optional<Holder> holder = {};
    bool complete = false, dead = false, mute = false;
    std::set<std::uint64_t> failed = {};
  };
  std::string Place(Member& one, std::uint64_t failed) {
    Holder holder;
    if (!directory_.Locate(one.name, AddressOf(one.name), failed, &holder)) return "full";
    if (failed != 0) one.failed.insert(failed);
    if (one.failed.contains(holder.member)) return "a member is sent to a holder that has failed it";
    one.holder = holder;
    return {};
  }
  std::uint64_t Has(std::uint64_t member) const {
    if (member == 0) return kParts;
    const Member& one = members_[member - 1];
    return one.dead || one.mute ? kServesNobody : one.parts;
  }
  void Fault(Member& one) {
    switch (random_.Below(3)) {
      case 0:  // dies; the directory hears of it
        one.dead = true;
        directory_.Leave(one.name);
        break;
      case 1:  // its server dies, and only its readers notice
        one.mute = true;
        break;
      default:  // loses its connection, and blames whoever it read from
        if (one.holder) Place(one, one.holder->member);
    }
  }
  std::size_t MostReaders() const {
    std::size_t most = 0;
    for (std::uint64_t m = 0; m <= members_.size(); ++m) {
      most =
          std::max(most, static_cast<std::size_t>(std::count_if(members_.begin(), members_.end(), [&](const Member& o) {
                     return o.holder && !o.complete && !o.dead && o.holder->member == m;
                   })));
    }
    return most;
  }

  Random random_;
  Directory directory_;
  std::vector<Member> members_;
};

std::uint64_t Seeds() {
  const char* text = std::getenv("SHEAF_TEST_SEEDS");
  return text ? std::strtoull(text, nullptr, 10) : 2000;
}

TEST(DirectorySimulation, EverybodyEndsWithAllOfItWhateverDies) {
  for (std::uint64_t seed = 1; seed <= Seeds(); ++seed) {
    const std::string wrong = World(seed, {}).Run();
    ASSERT_TRUE(wrong.empty()) << wrong << ", seed " << seed;
  }
}

TEST(DirectorySimulation, FindsPlantedMistakes) {
  Directory::Limits circles, again, star;
  circles.bug_ignores_descendants = true;
  again.bug_forgets_failures = true;
  star.bug_counts_no_readers = true;
  for (const Directory::Limits& mistake : {circles, again, star}) {
    bool found = false;
    for (std::uint64_t seed = 1; seed <= 2000 && !found; ++seed) found = !World(seed, mistake).Run().empty();
    EXPECT_TRUE(found);
  }
}

}  // namespace
}  // namespace sheaf::relay
