// Large results stay on the machine that made them until somebody reads them, and are made again if that machine dies
// (docs/decisions/0012).
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "base/random.h"
#include "sheaf/sheaf.h"
#include "tests/cluster/cluster.h"

namespace {

using sheaf::Array;
using sheaf::ArrayBuilder;
using sheaf::ObjectRef;
using sheaf::Remote;

using Numbers = Array<std::uint64_t>;
constexpr std::size_t kMiB = 1 << 20;
constexpr int kPatient = 1000;
constexpr auto kSoon = std::chrono::seconds(60);

std::uint64_t ValueAt(std::uint64_t seed, std::size_t i) { return (i + seed) * 0x9e3779b97f4a7c15u; }
Numbers Fill(std::size_t mib, std::uint64_t seed) {
  ArrayBuilder<std::uint64_t> out(mib * kMiB / 8);
  for (std::size_t i = 0; i < out.span().size(); ++i) out.span()[i] = ValueAt(seed, i);
  return std::move(out).Seal();
}
std::uint64_t SumOf(std::size_t mib, std::uint64_t seed) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < mib * kMiB / 8; ++i) sum = sum * 31 + ValueAt(seed, i);
  return sum;
}
std::uint64_t Sum(const Numbers& numbers) {
  std::uint64_t sum = 0;
  for (const std::uint64_t x : numbers.span()) sum = sum * 31 + x;
  return sum;
}
// A line in `log` tells of each run.
Numbers FillAndLog(const std::string& log, std::size_t mib, std::uint64_t seed) {
  std::ofstream(log, std::ios::app) << seed << "\n";
  return Fill(mib, seed);
}
Numbers AddOne(const Numbers& numbers) {
  ArrayBuilder<std::uint64_t> out(numbers.size());
  for (std::size_t i = 0; i < numbers.size(); ++i) out.span()[i] = numbers.span()[i] + 1;
  return std::move(out).Seal();
}
Numbers Add(const Numbers& a, const Numbers& b) {
  ArrayBuilder<std::uint64_t> out(a.size());
  for (std::size_t i = 0; i < a.size(); ++i) out.span()[i] = a.span()[i] + b.span()[i];
  return std::move(out).Seal();
}
// Not before somebody has made `gate`.
std::uint64_t SumLater(const std::string& gate, const Numbers& numbers) {
  while (access(gate.c_str(), F_OK) != 0) usleep(1000);
  return Sum(numbers);
}
int Nothing() { return 1; }
struct Two {
  Numbers first, second;
  std::string name;
};
Two MakeTwo(std::size_t mib, std::uint64_t seed) { return {Fill(mib, seed), Fill(mib, seed + 1), "two"}; }
std::uint64_t SumOfSecond(const Two& two) { return Sum(two.second); }
bool IsReadySoon(const ObjectRef<Numbers>& ref) {
  return !sheaf::Wait(std::vector<ObjectRef<Numbers>>{ref}, 1, kSoon).ready.empty();
}

class AwayTest : public ::testing::Test {
 protected:
  void Start(const std::string& near_store = "1GiB", int near_workers = 0) {
    cluster_.StartPool("near", near_workers, {"--store", near_store});
    if (HasFatalFailure()) return;
    setenv("SHEAF_ADDRESS", cluster_.SocketOf("near").c_str(), 1);
    int argc = 1;
    char program[] = "away_test";
    char* argv[] = {program, nullptr};
    sheaf::Init(argc, argv);
    started_ = true;
  }
  void TearDown() override {
    if (started_) sheaf::Shutdown();
    unsetenv("SHEAF_ADDRESS");
  }
  static sheaf::TaskOptions At(const std::string& where) { return {.retries = kPatient, .labels = {{"where", where}}}; }
  void StartFar(const std::string& id, int workers = 1) {
    cluster_.StartPool(id, workers, {"--labels", "where=" + id});
  }
  std::string Log() const { return cluster_.directory() + "/log"; }
  int Runs() const {
    std::ifstream log(Log());
    int runs = 0;
    for (std::string line; std::getline(log, line);) ++runs;
    return runs;
  }
  sheaf::Cluster cluster_;
  bool started_ = false;
};

TEST_F(AwayTest, WhatNobodyReadsHereTakesNoMemoryHere) {
  StartFar("far-a", 2);
  Start("64MiB");
  std::vector<ObjectRef<Numbers>> made;
  std::vector<ObjectRef<std::uint64_t>> sums;
  for (std::uint64_t i = 0; i < 12; ++i) {
    made.push_back(Remote<Fill>(std::size_t{16}, i));
    sums.push_back(Remote<Sum>(made.back()));
  }
  for (std::uint64_t i = 0; i < 12; ++i) EXPECT_EQ(sums[i].Get(kSoon), SumOf(16, i));
  for (const auto& ref : made) EXPECT_TRUE(IsReadySoon(ref));
  EXPECT_EQ(Sum(made[5].Get(kSoon)), SumOf(16, 5));
}

TEST_F(AwayTest, AThirdMachineGetsTheBytesFromTheSecond) {
  StartFar("far-a");
  StartFar("far-b");
  Start("64MiB");
  const auto made = sheaf::Task<Fill>(At("far-a")).Remote(std::size_t{96}, std::uint64_t{3});
  const auto next = sheaf::Task<AddOne>(At("far-b")).Remote(made);
  const auto sum = sheaf::Task<Sum>(At("far-b")).Remote(next);
  const auto both = sheaf::Task<Sum>(At("far-a")).Remote(sheaf::Task<Add>(At("far-a")).Remote(made, next));
  std::uint64_t expected = 0, expected_both = 0;
  for (std::size_t i = 0; i < 96 * kMiB / 8; ++i) {
    expected = expected * 31 + ValueAt(3, i) + 1;
    expected_both = expected_both * 31 + 2 * ValueAt(3, i) + 1;
  }
  EXPECT_EQ(sum.Get(kSoon), expected);
  EXPECT_EQ(both.Get(kSoon), expected_both);
}

TEST_F(AwayTest, AValueOfSeveralBlocksIsReadWhole) {
  StartFar("far-a");
  Start();
  const auto two = Remote<MakeTwo>(std::size_t{8}, std::uint64_t{40});
  EXPECT_EQ(Remote<SumOfSecond>(two).Get(kSoon), SumOf(8, 41));
  const Two here = two.Get(kSoon);
  EXPECT_EQ(here.name, "two");
  EXPECT_EQ(Sum(here.first), SumOf(8, 40));
  EXPECT_EQ(Sum(here.second), SumOf(8, 41));
}

TEST_F(AwayTest, WhatLayOnAMachineThatDiesIsMadeAgain) {
  StartFar("far-a");
  Start();
  std::vector<ObjectRef<Numbers>> made;
  for (std::uint64_t i = 0; i < 4; ++i)
    made.push_back(sheaf::Task<FillAndLog>({.retries = 3}).Remote(Log(), std::size_t{8}, i));
  for (const auto& ref : made) ASSERT_TRUE(IsReadySoon(ref));
  EXPECT_EQ(Runs(), 4);
  cluster_.KillPool("far-a");
  StartFar("far-b");
  for (std::uint64_t i = 0; i < 4; ++i) EXPECT_EQ(Sum(made[i].Get(kSoon)), SumOf(8, i));
  EXPECT_EQ(Runs(), 8);
}

TEST_F(AwayTest, AChainThatWasAwayIsMadeAgainLinkByLink) {
  StartFar("far-a");
  Start();
  auto at = Remote<FillAndLog>(Log(), std::size_t{8}, std::uint64_t{7});
  for (int i = 0; i < 5; ++i) at = Remote<AddOne>(at);
  ASSERT_TRUE(IsReadySoon(at));
  cluster_.KillPool("far-a");
  StartFar("far-b");
  const Numbers numbers = at.Get(kSoon);
  EXPECT_EQ(numbers.span()[11], ValueAt(7, 11) + 5);
  EXPECT_EQ(Runs(), 2);
}

// The only machine that is left is handed a task whose input died with the other one, and then what makes that input again.
TEST_F(AwayTest, WhatMakesAnInputAgainIsNotStuckBehindWhatTakesIt) {
  StartFar("far-a");
  Start();
  const auto made = Remote<Fill>(std::size_t{8}, std::uint64_t{3});
  ASSERT_TRUE(IsReadySoon(made));
  const std::string gate = cluster_.directory() + "/gate";
  const auto sum = sheaf::Task<SumLater>({.retries = 3}).Remote(gate, made);
  StartFar("far-b");
  EXPECT_EQ(Remote<Nothing>().Get(kSoon), 1);  // far-b knows this job now, as far-a is busy
  cluster_.KillPool("far-a");
  std::ofstream(gate).close();
  EXPECT_EQ(sum.Get(kSoon), SumOf(8, 3));
}

TEST_F(AwayTest, ALongChainMostlyStaysThereAndIsRight) {
  StartFar("far-a");
  Start("128MiB");
  auto at = Remote<Fill>(std::size_t{16}, std::uint64_t{7});
  for (int i = 0; i < 60; ++i) at = Remote<AddOne>(at);
  const Numbers numbers = at.Get(kSoon);
  EXPECT_EQ(numbers.span()[3], ValueAt(7, 3) + 60);
}

TEST_F(AwayTest, WhoWaitsForBytesWhenTheirMachineDiesGetsThoseOfTheSecondRun) {
  StartFar("far-a");
  Start("1GiB", 1);
  const auto made =
      sheaf::Task<Fill>({.retries = 3, .labels = {{"where", "far-a"}}}).Remote(std::size_t{64}, std::uint64_t{9});
  ASSERT_TRUE(IsReadySoon(made));
  // By a worker of this machine, while the other one is stopped, so that its bytes do not come.
  const auto sum = sheaf::Task<Sum>({.retries = 0}).Remote(made);
  for (const pid_t pid : cluster_.ChildrenOf(cluster_.SupervisorOf("far-a"))) kill(pid, SIGSTOP);
  std::jthread reader([&] { EXPECT_EQ(Sum(made.Get()), SumOf(64, 9)); });
  cluster_.KillPool("far-a");
  StartFar("far-a");
  EXPECT_EQ(sum.Get(kSoon), SumOf(64, 9));
  reader.join();
}

TEST_F(AwayTest, AHookMayReadWhatIsAway) {
  StartFar("far-a");
  Start();
  std::atomic<std::uint64_t> sum{0};
  const auto made = Remote<Fill>(std::size_t{16}, std::uint64_t{5});
  made.OnReady([&] { sum = Sum(made.Get()); });
  EXPECT_EQ(Remote<Sum>(made).Get(kSoon), SumOf(16, 5));
  while (sum == 0) usleep(1000);
  EXPECT_EQ(sum, SumOf(16, 5));
}

TEST_F(AwayTest, WhatMayNotRunAgainComesAtOnce) {
  StartFar("far-a");
  Start();
  const auto made = sheaf::Task<FillAndLog>({.retries = 0}).Remote(Log(), std::size_t{16}, std::uint64_t{5});
  ASSERT_TRUE(IsReadySoon(made));
  cluster_.KillPool("far-a");
  EXPECT_EQ(Sum(made.Get(kSoon)), SumOf(16, 5));
  EXPECT_EQ(Runs(), 1);
}

TEST_F(AwayTest, AMachineThatIsDrainedGivesBackWhatLiesThere) {
  StartFar("far-a");
  Start();
  std::vector<ObjectRef<Numbers>> made;
  for (std::uint64_t i = 0; i < 4; ++i) made.push_back(Remote<FillAndLog>(Log(), std::size_t{8}, i));
  for (const auto& ref : made) ASSERT_TRUE(IsReadySoon(ref));
  sheaf::cli::Child drain({std::getenv("SHEAF_BIN"), "drain", "far-a", "--address", cluster_.address()}, {});
  EXPECT_EQ(drain.Wait(), 0) << drain.Errors();
  for (std::uint64_t i = 0; i < 4; ++i) EXPECT_EQ(Sum(made[i].Get(kSoon)), SumOf(8, i));
  EXPECT_EQ(Runs(), 4);
}

TEST_F(AwayTest, AReadForWhichThereIsNoMemorySaysSoAndLaterFindsIt) {
  StartFar("far-a");
  Start("64MiB");
  auto in_the_way = sheaf::Put(Fill(40, 1));
  const auto made = Remote<Fill>(std::size_t{40}, std::uint64_t{2});
  ASSERT_TRUE(IsReadySoon(made));
  EXPECT_THROW(made.Get(kSoon), sheaf::OutOfMemoryError);
  in_the_way = {};
  EXPECT_EQ(Sum(made.Get(kSoon)), SumOf(40, 2));
}

TEST_F(AwayTest, ReadsAreRightWhileTheMachineDiesOnWhichHalfOfTheValuesLie) {
  for (const char* id : {"far-a", "far-b"}) cluster_.StartPool(id, 2);
  Start("2GiB", 0);
  const char* text = std::getenv("SHEAF_TEST_FAULTS");
  const int faults = text ? std::atoi(text) : 2;
  sheaf::Random random(41);
  for (int fault = 0; fault < faults; ++fault) {
    std::vector<ObjectRef<Numbers>> made;
    for (std::uint64_t i = 0; i < 20; ++i) made.push_back(Remote<Fill>(std::size_t{16}, i));
    ASSERT_EQ(sheaf::Wait(made, made.size(), kSoon).ready.size(), made.size());
    std::jthread killer([&, delay = random.Below(300)] {
      usleep(static_cast<useconds_t>(delay) * 1000);
      cluster_.KillPool("far-a");
    });
    for (std::uint64_t i = 0; i < made.size(); ++i) {
      const Numbers numbers = made[i].Get(kSoon);
      EXPECT_EQ(numbers.span()[numbers.size() - 1], ValueAt(i, numbers.size() - 1)) << "fault " << fault;
    }
    killer.join();
    cluster_.StartPool("far-a", 2);
  }
}

TEST_F(AwayTest, ResultsAreRightWhileMachinesAndRelaysDie) {
  for (const char* id : {"far-a", "far-b"}) cluster_.StartPool(id, 2);
  Start("1GiB", 1);
  const char* text = std::getenv("SHEAF_TEST_FAULTS");
  const int faults = text ? std::atoi(text) : 10;
  sheaf::Random random(1812);
  const std::vector<std::string> pools{"near", "far-a", "far-b"};
  for (int fault = 0; fault < faults; ++fault) {
    std::jthread killer(
        [&, delay = random.Below(150), pool = pools[random.Below(pools.size())], machine = random.OneIn(4)] {
          usleep(static_cast<useconds_t>(delay) * 1000);
          if (machine && pool != "near") {
            cluster_.KillPool(pool);
            return;
          }
          for (const pid_t pid : cluster_.ChildrenOf(cluster_.SupervisorOf(pool)))
            if (pid != cluster_.PoolOf(pool)) kill(pid, SIGKILL);
        });
    const auto seed = static_cast<std::uint64_t>(fault) * 100;
    std::vector<ObjectRef<Numbers>> level;
    for (std::uint64_t i = 0; i < 6; ++i)
      level.push_back(sheaf::Task<Fill>({.retries = kPatient}).Remote(std::size_t{5}, seed + i));
    const std::vector<ObjectRef<Numbers>> leaves = level;
    while (level.size() > 1) {
      std::vector<ObjectRef<Numbers>> up;
      for (std::size_t i = 0; i + 1 < level.size(); i += 2)
        up.push_back(sheaf::Task<Add>({.retries = kPatient}).Remote(level[i], level[i + 1]));
      if (level.size() % 2 == 1) up.push_back(level.back());
      level = up;
    }
    std::uint64_t expected = 0;
    for (std::uint64_t i = 0; i < 6; ++i) expected += ValueAt(seed + i, 77);
    const Numbers top = level[0].Get(kSoon);
    EXPECT_EQ(top.span()[77], expected) << "fault " << fault;
    killer.join();
    EXPECT_EQ(Sum(leaves[3].Get(kSoon)), SumOf(5, seed + 3)) << "fault " << fault;
    for (const char* id : {"far-a", "far-b"})
      if (kill(cluster_.SupervisorOf(id), 0) != 0 || cluster_.PoolOf(id) == 0) cluster_.StartPool(id, 2);
  }
}

}  // namespace
