// The same API on a cluster: the driver's pool has no workers, everything runs on other pools, over real sockets.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <numeric>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "sheaf/ml.h"
#include "sheaf/sheaf.h"
#include "tests/cluster/cluster.h"

namespace {

using sheaf::Array;
using sheaf::ObjectRef;
using sheaf::Remote;

int Square(int x) { return x * x; }
int Add(int a, int b) { return a + b; }
int Pid() { return getpid(); }
int Supervisor() { return getppid(); }
int SlowPid() {  // so that one pool is not done before the other has begun
  usleep(2000);
  return getpid();
}
int Slow(int x) {
  usleep(200);
  return x;
}
std::string Repeat(const std::string& text, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += text;
  return out;
}
Array<float> Ramp(int n) {
  sheaf::ArrayBuilder<float> out(static_cast<std::size_t>(n));
  std::iota(out.span().begin(), out.span().end(), 0.0f);
  return std::move(out).Seal();
}
double Sum(const Array<float>& in) { return std::accumulate(in.span().begin(), in.span().end(), 0.0); }
Array<float> Scale(const Array<float>& in, float by) {
  sheaf::ArrayBuilder<float> out(in.size());
  for (std::size_t i = 0; i < in.size(); ++i) out.span()[i] = in.span()[i] * by;
  return std::move(out).Seal();
}
struct Pair {
  Array<float> a;
  std::vector<Array<float>> more;
  ObjectRef<int> ref;
};
double SumPair(const Pair& pair) {
  double sum = Sum(pair.a) + pair.ref.Get();
  for (const auto& one : pair.more) sum += Sum(one);
  return sum;
}
Pair MakePair(int n) { return {Ramp(n), {Ramp(n), Ramp(2 * n)}, Remote<Square>(n)}; }
int Fibonacci(int n) {
  if (n < 2) return n;
  const ObjectRef<int> a = Remote<Fibonacci>(n - 1), b = Remote<Fibonacci>(n - 2);
  return a.Get() + b.Get();
}
ObjectRef<int> Later(int x) { return Remote<Square>(x); }
ObjectRef<Array<float>> GiveBack(const ObjectRef<Array<float>>& ref) { return ref; }
int Fail(int x) { throw std::out_of_range("no place " + std::to_string(x)); }
int Print(int x) {
  std::printf("line %d\n", x);
  std::fflush(stdout);
  return x;
}
int BeginALine(int x) {
  std::printf("begun %d", x);
  return x;
}
int PrintLastWords() {
  for (int i = 0; i < 1000; ++i) std::printf("sentence %d\n", i);
  std::printf("last words");
  return 1;
}
int started = 0;
void Begin(int value, const Array<float>& more) { started = value + static_cast<int>(more.size()); }
int Started() { return started; }

class ClusterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    cluster_.StartPool("near", 0);
    cluster_.StartPool("far-a", 2, {"--resources", "gpu=1", "--labels", "where=a"});
    cluster_.StartPool("far-b", 2, {"--labels", "where=b"});
    if (HasFatalFailure()) return;
    setenv("SHEAF_ADDRESS", cluster_.SocketOf("near").c_str(), 1);
    int argc = 1;
    char program[] = "cluster_test";
    char* argv[] = {program, nullptr};
    sheaf::Init(argc, argv);
  }
  void TearDown() override {
    sheaf::Shutdown();
    unsetenv("SHEAF_ADDRESS");
  }
  sheaf::Cluster cluster_;
};

TEST_F(ClusterTest, RunsTasksThatNoLocalWorkerCould) {
  std::vector<ObjectRef<int>> refs;
  for (int i = 0; i < 2000; ++i) refs.push_back(Remote<Square>(i));
  for (int i = 0; i < 2000; ++i) ASSERT_EQ(refs[static_cast<std::size_t>(i)].Get(), i * i);
  EXPECT_NE(Remote<Pid>().Get(), getpid());
}

TEST_F(ClusterTest, SendsTasksToTheMachineThatHasWhatTheyNeed) {
  std::vector<ObjectRef<int>> gpus, there;
  for (int i = 0; i < 40; ++i) gpus.push_back(sheaf::Task<Supervisor>({.resources = {{"gpu", 0.5}}}).Remote());
  for (int i = 0; i < 40; ++i) there.push_back(sheaf::Task<Supervisor>({.labels = {{"where", "b"}}}).Remote());
  for (auto& ref : gpus) EXPECT_EQ(ref.Get(), cluster_.SupervisorOf("far-a"));
  for (auto& ref : there) EXPECT_EQ(ref.Get(), cluster_.SupervisorOf("far-b"));
  EXPECT_EQ(Remote<Square>(7).Get(), 49);
  EXPECT_THROW(sheaf::Task<Supervisor>({.resources = {{"gpu", 2}}}).Remote().Get(), sheaf::InfeasibleError);
  EXPECT_THROW(sheaf::Task<Supervisor>({.labels = {{"where", "c"}}}).Remote().Get(), sheaf::InfeasibleError);
}

int LookAt(const Array<float>& in) {
  usleep(5'000);
  return in.span()[0] == 0 ? getppid() : 0;
}

TEST_F(ClusterTest, TasksStayOnTheMachineThatHasTheirBytes) {
  std::vector<ObjectRef<Array<float>>> batches;
  for (int i = 0; i < 12; ++i) batches.push_back(sheaf::Put(Ramp(4 << 20)));
  std::set<std::pair<std::size_t, int>> sent;
  for (std::size_t round = 0; round < 10; ++round) {
    std::vector<std::pair<std::size_t, ObjectRef<int>>> where;
    for (std::size_t i = 0; i < batches.size(); ++i) {
      const std::size_t batch = (i + round * (round + 1) / 2) % batches.size();  // in another order each time
      where.emplace_back(batch, Remote<LookAt>(batches[batch]));
    }
    for (const auto& [batch, machine] : where) sent.emplace(batch, machine.Get());
  }
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // a round must not take longer than bytes are kept
  EXPECT_LE(sent.size(), 19u) << "of 24";
#endif
}

Array<double> Start(const Array<float>& in, const double& factor) {
  return sheaf::ArrayBuilder<double>(1, in.span()[1] * factor).Seal();
}

TEST_F(ClusterTest, MapMeanCombinesOnOtherMachines) {
  std::vector<ObjectRef<Array<float>>> items;
  for (int i = 0; i < 12; ++i) items.push_back(sheaf::Put(Ramp(1 << 20)));
  for (const std::size_t groups : {1, 3})
    EXPECT_EQ(sheaf::ml::MapMean<Start>(items, sheaf::Put(4.0), {.groups = groups}).Get()[0], 4.0);
}

int SupervisorOfChild(int) { return sheaf::Task<Supervisor>({.resources = {{"gpu", 1}}}).Remote().Get(); }

TEST_F(ClusterTest, SendsChildrenOnToTheMachineThatHasWhatTheyNeed) {
  std::vector<ObjectRef<int>> there;
  for (int i = 0; i < 4; ++i) there.push_back(sheaf::Task<SupervisorOfChild>({.labels = {{"where", "b"}}}).Remote(i));
  for (auto& ref : there) EXPECT_EQ(ref.Get(), cluster_.SupervisorOf("far-a"));
}

TEST_F(ClusterTest, PassesValuesBetweenMachinesThatHaveDifferentThings) {
  ObjectRef<int> sum = Remote<Add>(0, 0);
  for (int i = 1; i <= 60; ++i) {
    sum = sheaf::Task<Add>({.resources = {{"gpu", 1}}}).Remote(sum, i);
    sum = sheaf::Task<Add>({.labels = {{"where", "b"}}}).Remote(sum, i);
  }
  EXPECT_EQ(sum.Get(), 3660);
}

TEST_F(ClusterTest, KeepsChainsAndTreesRight) {
  ObjectRef<int> sum = Remote<Add>(0, 0);
  for (int i = 1; i <= 500; ++i) sum = Remote<Add>(sum, i);
  EXPECT_EQ(sum.Get(), 125250);
  std::vector<ObjectRef<int>> level;
  for (int i = 0; i < 256; ++i) level.push_back(Remote<Square>(i));
  while (level.size() > 1) {
    std::vector<ObjectRef<int>> next;
    for (std::size_t i = 0; i < level.size(); i += 2) next.push_back(Remote<Add>(level[i], level[i + 1]));
    level = std::move(next);
  }
  EXPECT_EQ(level[0].Get(), 5559680);
}

TEST_F(ClusterTest, CarriesArraysBothWaysAndOnFromTaskToTask) {
  const ObjectRef<Array<float>> mine = sheaf::Put(Ramp(300'000));
  ObjectRef<Array<float>> scaled = Remote<Scale>(mine, 2.0f);
  for (int i = 0; i < 5; ++i) scaled = Remote<Scale>(scaled, 2.0f);
  EXPECT_EQ(Remote<Sum>(scaled).Get(), 64 * Sum(mine.Get()));
  const auto here = scaled.Get();
  EXPECT_EQ(here.span()[299'999], 64 * 299'999.0f);
  EXPECT_EQ(Remote<Repeat>(Remote<Repeat>("ab", 40), 50).Get().size(), 4000u);
  EXPECT_EQ(Remote<Ramp>(0).Get().size(), 0u);
}

TEST_F(ClusterTest, FindsMemoryAndRefsInsideOfValuesWithoutKnowingTheirTypes) {
  const ObjectRef<Pair> pair = Remote<MakePair>(1000);
  EXPECT_EQ(Remote<SumPair>(pair).Get(), 2 * 499'500.0 + 1'999'000.0 + 1'000'000.0);
  const Pair here = pair.Get();
  EXPECT_EQ(here.ref.Get(), 1'000'000);
  EXPECT_EQ(SumPair(here), 3'998'000.0);
  Pair own{Ramp(10), {Ramp(20)}, Remote<Square>(3)};
  EXPECT_EQ(Remote<SumPair>(own).Get(), 45.0 + 190.0 + 9.0);
}

TEST_F(ClusterTest, RunsChildrenWhereTheirParentsRun) {
  EXPECT_EQ(Remote<Fibonacci>(9).Get(), 34);
  EXPECT_EQ(Remote<Later>(7).Get().Get(), 49);
}

TEST_F(ClusterTest, GivesARefBackAsTheObjectThatItWas) {
  const ObjectRef<Array<float>> mine = sheaf::Put(Ramp(1000));
  const ObjectRef<Array<float>> same = Remote<GiveBack>(mine).Get();
  const auto given = mine.Get(), back = same.Get();
  EXPECT_EQ(back.span().data(), given.span().data()) << "the same memory, not a copy";
}

TEST_F(ClusterTest, ThrowsWhatTheTaskThrewAndPassesItOn) {
  const ObjectRef<int> failed = Remote<Fail>(7);
  EXPECT_THROW(failed.Get(), sheaf::TaskError);
  try {
    Remote<Square>(failed).Get();
    FAIL();
  } catch (const sheaf::TaskError& error) {
    EXPECT_NE(std::string(error.what()).find("no place 7"), std::string::npos) << error.what();
  }
}

TEST_F(ClusterTest, LosesNothingWhenAPoolIsDrained) {
  std::vector<ObjectRef<int>> refs;
  for (int i = 0; i < 4000; ++i) refs.push_back(sheaf::Task<Slow>({.retries = 0}).Remote(i));
  for (int i = 0; i < 50; ++i) ASSERT_EQ(refs[static_cast<std::size_t>(i)].Get(), i);
  sheaf::cli::Child drain({std::getenv("SHEAF_BIN"), "drain", "far-a", "--address", cluster_.address()}, {});
  for (int i = 0; i < 4000; ++i) ASSERT_EQ(refs[static_cast<std::size_t>(i)].Get(), i) << "without a retry";
  EXPECT_EQ(drain.Wait(), 0) << drain.Errors();
  EXPECT_EQ(Remote<Square>(3).Get(), 9);
}

TEST_F(ClusterTest, UsesTheWorkersOfSeveralPools) {
  std::set<int> pids;
  for (int round = 0; round < 50 && pids.size() < 3; ++round) {
    std::vector<ObjectRef<int>> refs;
    for (int i = 0; i < 100; ++i) refs.push_back(Remote<SlowPid>());
    for (const auto& ref : refs) pids.insert(ref.Get());
  }
  EXPECT_GE(pids.size(), 3u) << "each pool has two";
}

int Nap(int milliseconds) {
  usleep(static_cast<useconds_t>(milliseconds) * 1000);
  return milliseconds;
}

// Seconds of CPU that a process has used.
double CpuOf(pid_t pid) {
  std::string line;
  std::getline(std::ifstream("/proc/" + std::to_string(pid) + "/stat"), line);
  std::istringstream rest(line.substr(std::min(line.rfind(')') + 2, line.size())));
  std::string word;
  double ticks = 0;
  for (int field = 3; rest >> word && field <= 15; ++field)
    if (field >= 14) ticks += std::stod(word);
  return ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
}

TEST_F(ClusterTest, RelaysSleepWhileWhatWaitsHasNoRoomOnTheOtherMachine) {
  const auto used = [&] {
    double seconds = 0;
    for (const pid_t pid : cluster_.ChildrenOf(cluster_.SupervisorOf("near"))) seconds += CpuOf(pid);
    return seconds;
  };
  std::vector<ObjectRef<int>> refs;
  for (int i = 0; i < 8; ++i) refs.push_back(Remote<Nap>(50));
  for (const auto& ref : refs) ref.Get();
  refs.clear();
  const double before = used();
  for (int i = 0; i < 40; ++i) refs.push_back(Remote<Nap>(100));  // a second for four workers
  for (const auto& ref : refs) ref.Get();
  EXPECT_LT(used() - before, 0.5) << "of a second and more";
}

TEST_F(ClusterTest, RunsWhatBelongsBeforeAWorkersFirstTask) {
  sheaf::OnWorkerStart<Begin>(30, Ramp(2000));
  EXPECT_EQ(Remote<Started>().Get(), 2030);
}

TEST_F(ClusterTest, RefusesATaskThatNoPoolIsLargeEnoughFor) {
  EXPECT_THROW((sheaf::Task<Square>({.cpus = 64}).Remote(3).Get()), sheaf::InfeasibleError);
  EXPECT_EQ((sheaf::Task<Square>({.cpus = 2}).Remote(3).Get()), 9);
}

// A grant that is not wanted goes back after a second; what was started for it waits for the next one.
TEST_F(ClusterTest, FindsItsProcessesThereAgainAfterAPause) {
  const int before = Remote<Pid>().Get();
  poll(nullptr, 0, 1600);
  EXPECT_EQ(Remote<Pid>().Get(), before);
}

// The scheduler has answered before the question: it may take its time for the next one.
TEST_F(ClusterTest, GoesOnByACreditWhileTheSchedulerIsSilent) {
  const int before = Remote<Pid>().Get();
  poll(nullptr, 0, 1600);
  kill(cluster_.SchedulerPid(), SIGSTOP);
  const auto ref = Remote<Pid>();
  int after = 0;
  EXPECT_NO_THROW(after = ref.Get(std::chrono::seconds(1)));
  kill(cluster_.SchedulerPid(), SIGCONT);
  EXPECT_EQ(after, before);
  EXPECT_EQ(Remote<Pid>().Get(), before) << "and the scheduler agrees";
}

TEST_F(ClusterTest, GetsMoreThanItsCreditForABurst) {
  Remote<Pid>().Get();
  poll(nullptr, 0, 1600);
  std::vector<ObjectRef<int>> refs;
  for (int i = 0; i < 200; ++i) refs.push_back(Remote<SlowPid>());
  std::set<int> pids;
  for (const auto& ref : refs) pids.insert(ref.Get());
  EXPECT_GT(pids.size(), 1u);
}

TEST_F(ClusterTest, GoesOnAfterItsParkedRelaysWereKilled) {
  const int before = Remote<Pid>().Get();
  poll(nullptr, 0, 1600);
  for (const char* pool : {"far-a", "far-b"})
    for (const pid_t pid : cluster_.ChildrenOf(cluster_.SupervisorOf(pool)))
      if (pid != cluster_.PoolOf(pool)) kill(pid, SIGKILL);
  EXPECT_NE(sheaf::Task<Pid>({.retries = 10}).Remote().Get(std::chrono::seconds(30)), before);
}

// A driver whose output goes to a file from the start, as that is what its workers inherit.
class ClusterOutputTest : public ClusterTest {
 protected:
  void SetUp() override {
    std::fflush(stdout);
    const int own = dup(STDOUT_FILENO);
    const int file = open((cluster_.directory() + "/output").c_str(), O_CREAT | O_RDWR | O_APPEND | O_CLOEXEC, 0600);
    dup2(file, STDOUT_FILENO);
    ClusterTest::SetUp();
    std::fflush(stdout);
    dup2(own, STDOUT_FILENO);
    close(own);
    close(file);
  }
  std::string Output() const {
    std::ifstream file(cluster_.directory() + "/output");
    return {std::istreambuf_iterator<char>(file), {}};
  }
};

TEST_F(ClusterOutputTest, ShowsWhatTheWorkersPrintWithTheMachineInFront) {
  EXPECT_EQ(Remote<Print>(12).Get(), 12);
  // The line takes its own way, so that it may come after the result.
  for (int i = 0; i < 100'000 && Output().find("line 12") == std::string::npos; ++i) Remote<Square>(1).Get();
  EXPECT_NE(Output().find(") line 12\n"), std::string::npos) << Output();
}

TEST_F(ClusterOutputTest, ShowsALineThatAWorkerBeganAndNeverEnds) {
  EXPECT_EQ(Remote<BeginALine>(13).Get(), 13);
  for (int i = 0; i < 1000 && Output().find("begun 13") == std::string::npos; ++i) poll(nullptr, 0, 10);
  EXPECT_NE(Output().find(") begun 13\n"), std::string::npos) << Output();
}

TEST_F(ClusterOutputTest, ShowsWhatAWorkerPrintsRightBeforeTheProgramEnds) {
  EXPECT_EQ(Remote<PrintLastWords>().Get(), 1);
  sheaf::Shutdown();
  for (int i = 0; i < 1000 && Output().find("last words") == std::string::npos; ++i) poll(nullptr, 0, 10);
  EXPECT_NE(Output().find(") sentence 999\n"), std::string::npos) << Output();
  EXPECT_NE(Output().find(") last words\n"), std::string::npos) << Output();
}

}  // namespace
