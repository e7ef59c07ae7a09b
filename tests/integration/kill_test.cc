// Processes die with SIGKILL at chosen and at random moments. What others hold survives, every result arrives once.
#include <dirent.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "runtime/context.h"
#include "sheaf/sheaf.h"
#include "worker/pool_view.h"

namespace {

using sheaf::ObjectRef;
using sheaf::Remote;

// Marks left on disk, so that a task can know how often it ran before, in whatever process.
std::string MarkFolder() {
  static const std::string folder = [] {
    char name[] = "/tmp/sheaf-kill-test-XXXXXX";
    return std::string(mkdtemp(name));
  }();
  return folder;
}
int Runs(const std::string& mark) {
  int runs = 0;
  std::ifstream(mark) >> runs;
  return runs;
}
void CountRun(const std::string& mark) {
  const int runs = Runs(mark) + 1;
  std::ofstream(mark) << runs;
}

int DieOnce(const std::string& mark) {
  CountRun(mark);
  if (Runs(mark) == 1) kill(getpid(), SIGKILL);
  return Runs(mark);
}
int DieOnceWith(const std::string& mark, const sheaf::Array<int>& in) { return DieOnce(mark) + in.span()[0]; }
int AlwaysDie() {
  kill(getpid(), SIGKILL);
  return 0;
}
int Square(int x) { return x * x; }
int WorkerPid() { return getpid(); }
std::vector<int> ChildrenOf(int parent) {
  std::vector<int> children;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const int pid = std::atoi(entry.path().filename().c_str());
    if (pid <= 0) continue;
    std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
    std::string text;
    std::getline(file, text);
    const auto end = text.rfind(')');
    if (end == std::string::npos) continue;
    if (std::atoi(text.c_str() + end + 4) == parent) children.push_back(pid);
  }
  return children;
}

std::string NameOf(int pid) {
  std::string name;
  std::ifstream("/proc/" + std::to_string(pid) + "/comm") >> name;
  return name;
}

// Ends its own pool, keeps the supervisor from ending this process, and goes on as if nothing had happened.
int FillWithoutAPool(const std::string& mark) {
  const int supervisor = getppid();
  kill(supervisor, SIGSTOP);
  for (const int child : ChildrenOf(supervisor))
    if (NameOf(child) == "sheaf-pool") kill(child, SIGKILL);
  CountRun(mark);
  try {
    std::vector<sheaf::ArrayBuilder<int>> kept;
    for (int i = 0; i < 16; ++i) kept.emplace_back(std::size_t{4} << 20);
  } catch (const std::exception&) {
  }
  CountRun(mark);
  return 0;
}
sheaf::Array<int> Fill(int n, int value) {
  sheaf::ArrayBuilder<int> out(static_cast<std::size_t>(n));
  for (int& x : out.span()) x = value;
  return std::move(out).Seal();
}
int First(const sheaf::Array<int>& in) { return in.span()[0]; }
// Keeps what it was given beyond the task: a borrow.
sheaf::Array<int> kept_array;
int Keep(const sheaf::Array<int>& in) {
  kept_array = in;
  return getpid();
}
// Keeps the ref itself.
ObjectRef<sheaf::Array<int>> kept_ref;
int KeepRef(const ObjectRef<sheaf::Array<int>>& ref) {
  kept_ref = ref;
  return getpid();
}
long SumKept() { return kept_array.size() ? kept_array.span()[0] : -1; }
int SlowSquare(int x) {
  volatile long sink = 0;
  for (long i = 0; i < 20000 + (x % 7) * 10000; ++i) sink = sink + i;
  return x * x;
}

int SleepAMinute() {
  sleep(60);
  return 0;
}

class KillTest : public testing::Test {
 protected:
  void SetUp() override { sheaf::Init(); }
  void TearDown() override { sheaf::Shutdown(); }
};

TEST_F(KillTest, RunsATaskAgainWhoseWorkerDiedInTheMiddleOfIt) {
  EXPECT_EQ(Remote<DieOnce>(MarkFolder() + "/once").Get(), 2);
}

TEST_F(KillTest, GivesATypedErrorWhenTheRetriesAreSpent) {
  auto failed = sheaf::Task<AlwaysDie>({.retries = 2}).Remote();
  try {
    failed.Get();
    FAIL();
  } catch (const sheaf::WorkerDiedError& error) {
    EXPECT_NE(std::string(error.what()).find("signal 9"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("attempt 3"), std::string::npos) << error.what();
  }
  EXPECT_EQ(Remote<Square>(5).Get(), 25);
}

TEST_F(KillTest, TheErrorSaysOnWhichMachineIfThatIsAnotherOne) {
  sheaf::runtime::RequireContext().submitter().place = "hostb";  // as a relay has it
  auto failed = sheaf::Task<AlwaysDie>({.retries = 0}).Remote();
  try {
    failed.Get();
    FAIL();
  } catch (const sheaf::WorkerDiedError& error) {
    EXPECT_NE(std::string(error.what()).find("the worker that ran this task was killed by signal 9 in attempt 1"),
              std::string::npos)
        << error.what();
    EXPECT_NE(std::string(error.what()).find("(on hostb)"), std::string::npos) << error.what();
  }
}

TEST_F(KillTest, TasksQueuedBehindADeathCostNoRetry) {
  std::vector<ObjectRef<int>> refs;
  for (int i = 0; i < 100; ++i) refs.push_back(sheaf::Task<Square>({.retries = 0}).Remote(i));
  const auto died = sheaf::Task<AlwaysDie>({.retries = 0}).Remote();
  for (int i = 0; i < 300; ++i) refs.push_back(sheaf::Task<Square>({.retries = 3}).Remote(i));
  EXPECT_THROW(died.Get(), sheaf::WorkerDiedError);
  for (auto& ref : refs) EXPECT_GE(ref.Get(), 0);
}

TEST_F(KillTest, KeepsTheResultsOfAWorkerThatDied) {
  auto result = Remote<Fill>(1 << 18, 7);
  const auto before = result.Get();
  kill(Remote<WorkerPid>().Get(), SIGKILL);
  kill(Remote<WorkerPid>().Get(), SIGKILL);
  EXPECT_EQ(Remote<First>(result).Get(), 7);
  EXPECT_EQ(result.Get()[1000], 7);
  EXPECT_EQ(before.span()[5], 7);
}

TEST_F(KillTest, SurvivesAWorkerThatHoldsWhatItBorrowed) {
  auto array = sheaf::Put(Fill(1000, 3));
  const int pid = Remote<Keep>(array).Get();
  array = {};
  kill(pid, SIGKILL);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(Remote<Square>(i).Get(), i * i);
}

TEST_F(KillTest, ABorrowedArrayStaysWhileItsBorrowerKeepsIt) {
  auto array = sheaf::Put(Fill(1000, 3));
  Remote<Keep>(array).Get();
  array = {};
  std::vector<ObjectRef<sheaf::Array<int>>> others;  // would reuse the memory if it were free
  for (int i = 0; i < 100; ++i) others.push_back(sheaf::Put(Fill(1000, 9)));
  std::vector<ObjectRef<long>> sums;
  for (int i = 0; i < 20; ++i) sums.push_back(Remote<SumKept>());
  for (auto& sum : sums) {
    const long value = sum.Get();
    EXPECT_TRUE(value == 3 || value == -1) << value;
  }
}

// Bytes and slots that this process keeps for its own objects.
std::uint64_t OwnMemory() {
  auto& context = sheaf::runtime::RequireContext();
  sheaf::runtime::Submitter::Lock lock(context.submitter());
  return context.submitter().slots().live() + context.heap().live_bytes();
}

TEST_F(KillTest, WhatOnlyADeadWorkersRefsNamedIsFreed) {
  auto array = sheaf::Put(Fill(100'000, 3));
  const int pid = Remote<KeepRef>(array).Get();
  array = {};
  EXPECT_GT(OwnMemory(), 100'000u) << "the worker's ref keeps it";
  kill(pid, SIGKILL);
  // A matter of messages (dead, acknowledged, forgotten): looks until they are through.
  for (int i = 0; i < 1000 && OwnMemory() != 0; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(OwnMemory(), 0u);
}

// Each of the dead was lent what another one had made: none may keep the others.
TEST_F(KillTest, TheDeadAreForgottenThoughTheyWereLentEachOthersResults) {
  for (int i = 0; i < 8; ++i) {
    const auto array = Remote<Fill>(100'000, i);
    EXPECT_EQ(Remote<DieOnceWith>(MarkFolder() + "/lent-" + std::to_string(i), array).Get(), 2 + i);
  }
  const auto dead = [] {
    int count = 0;
    auto& context = sheaf::runtime::RequireContext();
    context.peers().ForEach([&](sheaf::store::Peer& peer) { count += peer.gone.load() ? 1 : 0; });
    return count;
  };
  for (int i = 0; i < 1000 && dead() != 0; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(dead(), 0);
}

#if SHEAF_FAILPOINTS
// Every worker dies when it passes the place for the 20th time.
class KillAt : public testing::TestWithParam<const char*> {
 protected:
  void Start(const std::string& failpoint) {
    setenv("SHEAF_FP", failpoint.c_str(), 1);
    sheaf::Init();
  }
  void TearDown() override {
    sheaf::Shutdown();
    unsetenv("SHEAF_FP");
  }
};

TEST_P(KillAt, EveryResultArrivesWithRetries) {
  Start(std::string(GetParam()) + "=kill@20");
  std::vector<ObjectRef<int>> squares, firsts;
  for (int i = 0; i < 200; ++i) {
    squares.push_back(sheaf::Task<Square>({.retries = 1000}).Remote(i));
    const auto filled = sheaf::Task<Fill>({.retries = 1000}).Remote(1000, i);
    firsts.push_back(sheaf::Task<First>({.retries = 1000}).Remote(filled));
  }
  for (int i = 0; i < 200; ++i) {
    EXPECT_EQ(squares[static_cast<std::size_t>(i)].Get(std::chrono::seconds(60)), i * i);
    EXPECT_EQ(firsts[static_cast<std::size_t>(i)].Get(std::chrono::seconds(60)), i);
  }
}

TEST_P(KillAt, OnlyWhatHadBegunAndHadNoResultCostsARetry) {
  Start(std::string(GetParam()) + "=kill@20");
  std::vector<ObjectRef<int>> squares;
  for (int i = 0; i < 200; ++i) squares.push_back(sheaf::Task<Square>({.retries = 0}).Remote(i));
  int died = 0;
  for (int i = 0; i < 200; ++i) {
    try {
      EXPECT_EQ(squares[static_cast<std::size_t>(i)].Get(std::chrono::seconds(60)), i * i);
    } catch (const sheaf::WorkerDiedError&) {
      ++died;
    }
  }
  // One task for each death; of 200 tasks 20 a worker, shared by two workers.
  if (std::string(GetParam()) == "executor.published") {
    EXPECT_EQ(died, 0) << "a published result was lost";
  } else {
    EXPECT_GE(died, 1);
    EXPECT_LE(died, 10);
  }
}

INSTANTIATE_TEST_SUITE_P(Places, KillAt,
                         testing::Values("executor.claimed", "executor.before_publish", "executor.published"),
                         [](const auto& info) { return std::string(info.param).substr(sizeof "executor." - 1); });

class Disturbed : public KillAt {};

TEST_P(Disturbed, EveryResultArrivesThoughWorkersDie) {
  Start(GetParam());
  std::vector<ObjectRef<int>> firsts;
  for (int i = 0; i < 120; ++i) {
    const auto filled = sheaf::Task<Fill>({.retries = 1000}).Remote(100'000, i);
    firsts.push_back(sheaf::Task<First>({.retries = 1000}).Remote(filled));
    if (i % 30 == 29) kill(sheaf::Task<WorkerPid>({.retries = 1000}).Remote().Get(), SIGKILL);
  }
  for (int i = 0; i < 120; ++i) EXPECT_EQ(firsts[static_cast<std::size_t>(i)].Get(std::chrono::seconds(60)), i);
}

INSTANTIATE_TEST_SUITE_P(Places, Disturbed,
                         testing::Values("supervisor.exited=sleep(20ms)", "pool.gone.before_send=sleep(20ms)",
                                         "pool.page.before_write=sleep(20ms)", "pool.pair.half_open=sleep(5ms)",
                                         "pool.segment.before_answer=sleep(2ms)", "pool.spawn=error@2"),
                         [](const auto& info) {
                           std::string name = info.param;
                           name = name.substr(0, name.find('='));
                           for (char& c : name)
                             if (c == '.') c = '_';
                           return name;
                         });
#endif

// A child process as the driver, so that it can die. Returns its pid; it has printed its workers' pids into `mark`.
pid_t StartDriver(const std::string& mark, bool die) {
  const pid_t pid = fork();
  if (pid != 0) return pid;
  const std::string self = std::filesystem::read_symlink("/proc/self/exe");
  execl(self.c_str(), self.c_str(), die ? "--driver-dies" : "--driver-pool-dies", mark.c_str(), nullptr);
  _exit(127);
}

bool Alive(int pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  std::getline(stat, text);  // of a process that goes just now: nothing, and no exception
  return !text.empty() && text.find(") Z") == std::string::npos;
}

TEST(DriverKill, ADeadDriverTakesItsPoolAndWorkersAlong) {
  const std::string mark = MarkFolder() + "/driver";
  const pid_t driver = StartDriver(mark, true);
  int status = 0;
  ASSERT_EQ(waitpid(driver, &status, 0), driver);
  ASSERT_TRUE(WIFSIGNALED(status));
  const int worker = Runs(mark);
  ASSERT_GT(worker, 0);
  for (int i = 0; i < 500 && Alive(worker); ++i) usleep(10'000);
  EXPECT_FALSE(Alive(worker));
}

TEST(DriverKill, ADeadEmbeddedPoolGivesATypedErrorAndNoHang) {
  const std::string mark = MarkFolder() + "/pool";
  const pid_t driver = StartDriver(mark, false);
  int status = 0;
  ASSERT_EQ(waitpid(driver, &status, 0), driver);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

int DriverThatDies(const std::string& mark) {
  sheaf::Init();
  std::ofstream(mark) << Remote<WorkerPid>().Get() << std::flush;
  std::vector<ObjectRef<int>> refs;
  for (int i = 0; i < 1000; ++i) refs.push_back(Remote<SlowSquare>(i));
  kill(getpid(), SIGKILL);
  return 1;
}

int DriverWhosePoolDies() {
  sheaf::Init();
  if (Remote<Square>(2).Get() != 4) return 2;
  std::vector<ObjectRef<int>> refs;
  for (int i = 0; i < 2000; ++i) refs.push_back(Remote<SlowSquare>(i));
  for (int i = 0; i < 4; ++i)
    refs.push_back(Remote<SleepAMinute>());  // whatever else has ended by then, these have not
  for (const int supervisor : ChildrenOf(getpid()))
    for (const int child : ChildrenOf(supervisor))
      if (NameOf(child) == "sheaf-pool") kill(child, SIGKILL);
  int lost = 0;
  for (auto& ref : refs) {
    try {
      ref.Get();
    } catch (const sheaf::PoolLostError&) {
      ++lost;
    } catch (const sheaf::WorkerDiedError&) {
      ++lost;
    }
  }
  if (lost == 0) return 3;
  try {
    Remote<Square>(3).Get();
    return 4;
  } catch (const sheaf::PoolLostError&) {
  }
  return 0;
}

// What it would say of its task, that there is no memory above all, is not the task's: that is run again where there is a pool.
TEST_F(KillTest, AWorkerWhosePoolIsGoneEndsBeforeItsTaskNotices) {
  const std::string mark = MarkFolder() + "/poolless";
  const auto supervisors = ChildrenOf(getpid());
  ASSERT_EQ(supervisors.size(), 1u);
  EXPECT_THROW(sheaf::Task<FillWithoutAPool>({.retries = 0}).Remote(mark).Get(), sheaf::PoolLostError);
  const auto workers = ChildrenOf(supervisors[0]);
  for (int i = 0; i < 1000 && std::any_of(workers.begin(), workers.end(), Alive); ++i) usleep(10'000);
  EXPECT_FALSE(std::any_of(workers.begin(), workers.end(), Alive));
  EXPECT_EQ(Runs(mark), 1);
  kill(supervisors[0], SIGCONT);
}

std::optional<sheaf::PoolView> StatusOfThePool() {
  struct {
    sheaf::wire::Header header;
  } ask{};
  auto answer = sheaf::runtime::RequireContext().socket().Call(ask, sheaf::wire::Kind::kStatus);
  if (!answer || answer->kind() != sheaf::wire::Kind::kStatusReply) return {};
  return sheaf::PoolViewFromJson(answer->Tail<decltype(ask)>());
}

// As if threads that read names had slept until their processes were forgotten: the pool lends those indices again.
TEST_F(KillTest, WhoLooksForTheForgottenDoesNotKeepTheirSuccessorsOut) {
  auto& peers = sheaf::runtime::RequireContext().peers();
  EXPECT_EQ(Remote<Square>(2).Get(), 4);
  std::vector<std::uint32_t> late;  // names of no incarnation that there ever was
  for (std::uint32_t index = 1; index < 64; ++index)
    if (!peers.FindByIndex(index) && peers.FindOrAdd(index)) late.push_back(index);
  std::vector<ObjectRef<sheaf::Array<int>>> kept;  // in memory of the dead: their indices stay theirs
  for (int i = 0; i < 8; ++i) {
    kept.push_back(sheaf::Task<Fill>({.retries = 100}).Remote(5000, i));
    kept.back().Get();
    kill(sheaf::Task<WorkerPid>({.retries = 100}).Remote().Get(), SIGKILL);
    EXPECT_EQ(Remote<Square>(i).Get(std::chrono::seconds(10)), i * i);
  }
  const auto stays = [&](std::uint32_t client) { return peers.Find(client) != nullptr; };
  EXPECT_FALSE(std::all_of(late.begin(), late.end(), stays));
}

TEST_F(KillTest, DeliversEveryResultOnceUnderRandomKills) {
  const char* text = std::getenv("SHEAF_TEST_KILLS");
  const int kills = text ? std::atoi(text) : 100;
  std::uint64_t seed = 88172645463325252ull;
  const auto random = [&seed](std::uint64_t below) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed % below;
  };
  int done = 0, next = 0;
  std::vector<std::pair<int, ObjectRef<int>>> open;
  std::vector<std::pair<int, ObjectRef<sheaf::Array<int>>>> arrays;
  while (done < kills) {
    for (int i = 0; i < 64; ++i, ++next) {
      open.emplace_back(next, sheaf::Task<SlowSquare>({.retries = 1000}).Remote(next));
      if (next % 8 == 0) arrays.emplace_back(next, sheaf::Task<Fill>({.retries = 1000}).Remote(5000, next));
    }
    const auto pid = sheaf::Task<WorkerPid>({.retries = 1000}).Remote();
    std::this_thread::sleep_for(std::chrono::microseconds(random(3000)));
    kill(pid.Get(), SIGKILL);
    ++done;
    while (open.size() > 200) {
      ASSERT_EQ(open.front().second.Get(std::chrono::seconds(30)), open.front().first * open.front().first);
      open.erase(open.begin(), open.begin() + 1);
    }
    while (arrays.size() > 20) {
      const auto value = arrays.front().second.Get(std::chrono::seconds(30));
      ASSERT_EQ(value.span()[4999], arrays.front().first);
      arrays.erase(arrays.begin());
    }
  }
  for (auto& [x, ref] : open) ASSERT_EQ(ref.Get(std::chrono::seconds(30)), x * x);
  for (auto& [x, ref] : arrays) ASSERT_EQ(ref.Get(std::chrono::seconds(30))[0], x);
  // Nothing leaks: here, and in the pool once everybody has acknowledged the dead. A dead worker whose memory stayed
  // would be at least its control segment, its slab and its arena.
  open.clear();
  arrays.clear();
  auto& context = sheaf::runtime::RequireContext();
  // What a dead worker may have lent stays until it is forgotten: a matter of messages, so this looks until they are through.
  std::uint64_t bytes = ~0ull, bound = 0;
  for (int i = 0; i < 1000 && (bytes > bound || OwnMemory() != 0); ++i) {
    const auto view = StatusOfThePool();
    ASSERT_TRUE(view);
    bound = context.heap().segment_bytes() + static_cast<std::uint64_t>(view->workers_running + 3) * (8 << 20);
    bytes = view->segment_bytes;
    if (bytes > bound || OwnMemory() != 0) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(OwnMemory(), 0u);
  EXPECT_LE(bytes, bound);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3 && std::string(argv[1]) == "--driver-dies") return DriverThatDies(argv[2]);
  if (argc == 3 && std::string(argv[1]) == "--driver-pool-dies") return DriverWhosePoolDies();
  testing::InitGoogleTest(&argc, argv);
  const int result = RUN_ALL_TESTS();
  std::filesystem::remove_all(MarkFolder());
  return result;
}
