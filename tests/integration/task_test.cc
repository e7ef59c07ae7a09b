// Tasks through real worker processes of an embedded pool.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <mutex>
#include <numeric>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "sheaf/sheaf.h"

namespace {

using sheaf::ObjectRef;
using sheaf::Remote;

int Add(int a, int b) { return a + b; }
int Pid() { return getpid(); }
std::string Repeat(const std::string& text, int times) {
  std::string result;
  for (int i = 0; i < times; ++i) result += text;
  return result;
}
double Sum(std::span<const double> values) { return std::accumulate(values.begin(), values.end(), 0.0); }
std::vector<double> Iota(int n) {
  std::vector<double> values(static_cast<std::size_t>(n));
  std::iota(values.begin(), values.end(), 0.0);
  return values;
}
sheaf::Array<float> Scale(const sheaf::Array<float>& in, float by) {
  sheaf::ArrayBuilder<float> out(in.size());
  for (std::size_t i = 0; i < in.size(); ++i) out.span()[i] = in.span()[i] * by;
  return std::move(out).Seal();
}
sheaf::Array<float> PassOn(const sheaf::Array<float>& in) { return in; }
void Nothing() {}
std::tuple<int, std::string> Both(int x) { return {x + 1, std::to_string(x)}; }
int Throw(int x) {
  if (x > 0) throw std::out_of_range("x is " + std::to_string(x));
  return x;
}
int SumTo(int n) {
  if (n == 0) return 0;
  return n + Remote<SumTo>(n - 1).Get();
}
ObjectRef<int> Later(int x) { return Remote<Add>(x, 1); }
int Fan(int n) {
  std::vector<ObjectRef<int>> refs;
  for (int i = 0; i < n; ++i) refs.push_back(Remote<Add>(i, i));
  int total = 0;
  for (auto& ref : refs) total += ref.Get();
  return total;
}

// Begins, says so, and ends when its gate is open, but never soon: a long task.
void BehindAGate(const std::string& folder, int number) {
  std::ofstream(folder + "/begun" + std::to_string(number)).close();
  do {
    usleep(5'000);
  } while (access((folder + "/gate" + std::to_string(number)).c_str(), F_OK) != 0);
}

std::vector<int> SlowPids(std::vector<int> pids) {
  usleep(20'000);
  pids.push_back(getpid());
  return pids;
}

class TaskTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { sheaf::Init(); }
  static void TearDownTestSuite() { sheaf::Shutdown(); }
};

TEST_F(TaskTest, ReturnsTheResultOfAFunctionRunInAnotherProcess) {
  EXPECT_EQ(Remote<Add>(2, 3).Get(), 5);
  EXPECT_NE(Remote<Pid>().Get(), getpid());
}

TEST_F(TaskTest, RunsManyTasks) {
  std::vector<ObjectRef<int>> refs;
  for (int i = 0; i < 20000; ++i) refs.push_back(Remote<Add>(i, 1));
  for (int i = 0; i < 20000; ++i) ASSERT_EQ(refs[static_cast<std::size_t>(i)].Get(), i + 1);
}

TEST_F(TaskTest, PassesRefsAsValues) {
  ObjectRef<int> sum = Remote<Add>(1, 1);
  for (int i = 0; i < 1000; ++i) sum = Remote<Add>(sum, 1);
  EXPECT_EQ(sum.Get(), 1002);
}

TEST_F(TaskTest, CarriesTextsAndLargeResults) {
  EXPECT_EQ(Remote<Repeat>("ab", 3).Get(), "ababab");
  EXPECT_EQ(Remote<Repeat>("ab", 50000).Get().size(), 100000u);
  EXPECT_EQ(Remote<Sum>(Remote<Iota>(100000)).Get(), 100000.0 * 99999.0 / 2);
}

TEST_F(TaskTest, ReadsArraysInPlace) {
  sheaf::ArrayBuilder<float> builder(1 << 20);
  for (float& x : builder.span()) x = 1.5f;
  const auto array = sheaf::Put(std::move(builder).Seal());
  auto scaled = Remote<Scale>(array, 2.0f);
  const auto values = scaled.Get();
  EXPECT_EQ(values.span()[12345], 3.0f);
  const auto same = Remote<PassOn>(scaled).Get();
  scaled = {};
  EXPECT_EQ(same.span()[7], 3.0f);
}

TEST_F(TaskTest, HandsOutTupleElementsOneByOne) {
  auto [number, text] = Remote<Both>(41);
  EXPECT_EQ(number.Get(), 42);
  EXPECT_EQ(text.Get(), "41");
  EXPECT_EQ(Remote<Add>(number, 1).Get(), 43);
  Remote<Nothing>().Get();
}

TEST_F(TaskTest, ThrowsAtGetWhatTheTaskThrew) {
  auto failed = Remote<Throw>(7);
  try {
    failed.Get();
    FAIL();
  } catch (const sheaf::TaskError& error) {
    EXPECT_NE(std::string(error.what()).find("x is 7"), std::string::npos) << error.what();
    EXPECT_EQ(error.attempt, 1);
  }
  EXPECT_THROW(Remote<Add>(failed, 1).Get(), sheaf::TaskError);  // passes on to what depends on it
}

TEST_F(TaskTest, NestsTasks) {
  EXPECT_EQ(Remote<SumTo>(50).Get(), 50 * 51 / 2);
  EXPECT_EQ(Remote<Fan>(5000).Get(), 4999 * 5000);
}

// Long chains side by side: what waits for its own chain's worker keeps no other chain from an idle one.
TEST_F(TaskTest, RunsChainsOfLongTasksBesideEachOther) {
  // Until two workers are up; what the function takes is known by then.
  for (std::vector<int> a, b; a.empty() || a == b;) {
    const auto one = Remote<SlowPids>(std::vector<int>{}), other = Remote<SlowPids>(std::vector<int>{});
    a = one.Get();
    b = other.Get();
  }
  std::vector<ObjectRef<std::vector<int>>> ends;
  for (int chain = 0; chain < 2; ++chain) {
    auto end = Remote<SlowPids>(std::vector<int>{});
    for (int i = 0; i < 7; ++i) end = Remote<SlowPids>(end);
    ends.push_back(end);
  }
  const auto first = ends[0].Get(), second = ends[1].Get();
  ASSERT_EQ(first.size() + second.size(), 16u);
  EXPECT_NE(first.back(), second.back()) << "both chains ended on one worker";
}

TEST_F(TaskTest, CallbacksMaySubmitManyTasks) {
  std::mutex mutex;
  std::vector<ObjectRef<int>> more;
  std::vector<ObjectRef<int>> first;
  for (int i = 0; i < 3000; ++i) {
    first.push_back(Remote<Add>(i, 1));
    first.back().OnReady([&, i] {
      auto ref = Remote<Add>(i, 2);
      std::lock_guard lock(mutex);
      more.push_back(std::move(ref));
    });
  }
  for (int i = 0; i < 3000; ++i) EXPECT_EQ(first[static_cast<std::size_t>(i)].Get(), i + 1);
  for (bool all = false; !all;) {
    std::lock_guard lock(mutex);
    all = more.size() == 3000;
  }
  long sum = 0;
  for (auto& ref : more) sum += ref.Get();
  EXPECT_EQ(sum, 2999L * 3000 / 2 + 2 * 3000);
}

TEST_F(TaskTest, CompletionsHandOutEveryResultThoughOthersPumpToo) {
  for (int round = 0; round < 20; ++round) {
    sheaf::Completions<int> completions;
    for (int i = 0; i < 300; ++i) completions.Add(Remote<Add>(i, 0));
    std::thread other([] {
      for (int i = 0; i < 100; ++i) Remote<Add>(i, i).Get();
    });
    int seen = 0;
    while (auto next = completions.Next()) ++seen;
    other.join();
    EXPECT_EQ(seen, 300);
  }
}

TEST_F(TaskTest, LongTasksDoNotQueueBehindEachOtherWhileAWorkerIsFree) {
  char name[] = "/tmp/sheaf-task-test-XXXXXX";
  const std::string folder = mkdtemp(name);
  std::vector<ObjectRef<void>> tasks;
  for (int i = 0; i < 4; ++i) tasks.push_back(Remote<BehindAGate>(folder, i));
  const auto begun = [&](int wanted) {
    int seen = 0;
    for (int look = 0; look < 20'000 && seen < wanted; ++look, usleep(500)) {
      seen = 0;
      for (int i = 0; i < 4; ++i) seen += std::filesystem::exists(folder + "/begun" + std::to_string(i)) ? 1 : 0;
    }
    return seen;
  };
  EXPECT_GE(begun(2), 2) << "one on each worker";
  std::set<int> open;
  for (int i = 0; i < 4; ++i)
    if (std::filesystem::exists(folder + "/begun" + std::to_string(i))) open.insert(i);
  for (const int i : open) std::ofstream(folder + "/gate" + std::to_string(i)).close();
  EXPECT_EQ(begun(4), 4) << "each of the others on the worker that is free";
  for (int i = 0; i < 4; ++i) std::ofstream(folder + "/gate" + std::to_string(i)).close();
  for (auto& task : tasks) task.Get();
  std::filesystem::remove_all(folder);
}

TEST_F(TaskTest, UnwrapsARefOfARef) {
  const ObjectRef<ObjectRef<int>> outer = Remote<Later>(1);
  EXPECT_EQ(outer.Get().Get(), 2);
  EXPECT_EQ(Remote<Add>(outer, 10).Get(), 12);
}

}  // namespace
