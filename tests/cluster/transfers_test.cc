// Large values between pools: right, whichever process of the transfers dies while they are on their way.
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "base/random.h"
#include "sheaf/sheaf.h"
#include "tests/cluster/cluster.h"

namespace {

using sheaf::Array;
using sheaf::ArrayBuilder;
using sheaf::ObjectRef;

constexpr std::size_t kWords = 2 << 20;  // 16 MiB
constexpr int kPatient = 1000;

Array<std::uint64_t> Numbers(std::uint64_t seed) {
  ArrayBuilder<std::uint64_t> out(kWords);
  for (std::size_t i = 0; i < kWords; ++i) out.span()[i] = (i + seed) * 0x9e3779b97f4a7c15u;
  return std::move(out).Seal();
}
std::uint64_t Sum(const Array<std::uint64_t>& numbers) {
  std::uint64_t sum = 0;
  for (const std::uint64_t x : numbers.span()) sum = sum * 31 + x;
  return sum;
}
struct Read {
  std::uint64_t sum = 0;
  std::uint64_t pid = 0;
};
Read SumAndWho(const Array<std::uint64_t>& numbers) {
  usleep(20'000);  // so that every worker gets one
  return {Sum(numbers), static_cast<std::uint64_t>(getpid())};
}
Array<std::uint64_t> Next(const Array<std::uint64_t>& numbers) {
  ArrayBuilder<std::uint64_t> out(numbers.size());
  for (std::size_t i = 0; i < numbers.size(); ++i) out.span()[i] = numbers.span()[i] + 1;
  return std::move(out).Seal();
}

class TransfersTest : public ::testing::Test {
 protected:
  void SetUp() override {
    cluster_.StartPool("near", 0);
    for (const char* id : {"far-a", "far-b", "far-c"}) cluster_.StartPool(id, 1);
    if (HasFatalFailure()) return;
    setenv("SHEAF_ADDRESS", cluster_.SocketOf("near").c_str(), 1);
    int argc = 1;
    char program[] = "transfers_test";
    char* argv[] = {program, nullptr};
    sheaf::Init(argc, argv);
  }
  void TearDown() override {
    sheaf::Shutdown();
    unsetenv("SHEAF_ADDRESS");
  }
  pid_t ServerOf(const std::string& pool) {
    for (const pid_t pid : cluster_.ChildrenOf(cluster_.SupervisorOf(pool))) {
      std::string words;
      std::getline(std::ifstream("/proc/" + std::to_string(pid) + "/cmdline"), words);
      if (words.find("transfers") != std::string::npos) return pid;
    }
    return 0;
  }
  // The server that follows one that was killed.
  pid_t AwaitServer(const std::string& pool, pid_t before) {
    for (;;) {
      const pid_t now = ServerOf(pool);
      if (now != 0 && now != before) return now;
      poll(nullptr, 0, 20);
    }
  }
  void Round(std::uint64_t seed) {
    const Array<std::uint64_t> numbers = Numbers(seed);
    const std::uint64_t sum = Sum(numbers);
    const auto put = sheaf::Put(numbers);
    std::vector<ObjectRef<Read>> sums;
    for (int i = 0; i < 6; ++i) sums.push_back(sheaf::Task<SumAndWho>({.retries = kPatient}).Remote(put));
    std::vector<ObjectRef<Array<std::uint64_t>>> arrays;
    for (int i = 0; i < 3; ++i) {
      auto at = sheaf::Task<Next>({.retries = kPatient}).Remote(put);
      arrays.push_back(sheaf::Task<Next>({.retries = kPatient}).Remote(at));
    }
    for (const auto& ref : sums) EXPECT_EQ(ref.Get(std::chrono::seconds(60)).sum, sum);
    for (const auto& ref : arrays) {
      const auto array = ref.Get(std::chrono::seconds(60));
      ASSERT_EQ(array.size(), kWords);
      EXPECT_EQ(array.span()[0], numbers.span()[0] + 2);
      EXPECT_EQ(array.span()[kWords - 1], numbers.span()[kWords - 1] + 2);
    }
  }
  sheaf::Cluster cluster_;
};

TEST_F(TransfersTest, EveryPoolReadsTheSameBytes) {
  const Array<std::uint64_t> numbers = Numbers(7);
  const std::uint64_t sum = Sum(numbers);
  std::set<std::uint64_t> readers;
  for (int round = 0; round < 20 && readers.size() < 3; ++round) {
    const auto put = sheaf::Put(numbers);
    std::vector<ObjectRef<Read>> refs;
    for (int i = 0; i < 9; ++i) refs.push_back(sheaf::Remote<SumAndWho>(put));
    for (const auto& ref : refs) {
      const Read read = ref.Get(std::chrono::seconds(60));
      EXPECT_EQ(read.sum, sum);
      readers.insert(read.pid);
    }
  }
  EXPECT_EQ(readers.size(), 3u);
}

TEST_F(TransfersTest, ResultsAreRightWithoutAnyServer) {
  Round(1);
  std::vector<pid_t> servers;
  for (const char* id : {"near", "far-a", "far-b", "far-c"}) {
    servers.push_back(ServerOf(id));
    ASSERT_NE(servers.back(), 0) << id;
    kill(servers.back(), SIGKILL);
  }
  Round(2);
  std::size_t at = 0;
  for (const char* id : {"near", "far-a", "far-b", "far-c"}) AwaitServer(id, servers[at++]);
  Round(3);
}

TEST_F(TransfersTest, ResultsAreRightWhileServersAndHalvesDie) {
  const char* text = std::getenv("SHEAF_TEST_FAULTS");
  const int faults = text ? std::atoi(text) : 12;
  sheaf::Random random(77);
  const std::vector<std::string> pools{"near", "far-a", "far-b", "far-c"};
  Round(1);
  for (int fault = 0; fault < faults; ++fault) {
    // At a moment of the round that is the fault's own.
    std::thread killer([&, delay = random.Below(60), pool = pools[random.Below(pools.size())], all = random.OneIn(3)] {
      poll(nullptr, 0, static_cast<int>(delay));
      for (const pid_t pid : cluster_.ChildrenOf(cluster_.SupervisorOf(pool)))
        if (pid != cluster_.PoolOf(pool) && (all || pid == ServerOf(pool))) kill(pid, SIGKILL);
    });
    Round(static_cast<std::uint64_t>(fault) + 10);
    killer.join();
  }
}

}  // namespace
