// What a task may ask for: CPUs, and the end of what a pool can give.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/clock.h"
#include "sheaf/sheaf.h"

namespace {

using sheaf::ObjectRef;
using sheaf::Remote;
using sheaf::Task;

// Counts, across processes, how many tasks run at once.
struct Board {
  std::atomic<int> running{0}, most{0};
};

class BoardFile {
 public:
  BoardFile() {
    char name[] = "/tmp/sheaf_board_XXXXXX";
    const int fd = mkstemp(name);
    path_ = name;
    if (fd < 0 || ftruncate(fd, sizeof(Board)) != 0) std::abort();
    close(fd);
  }
  ~BoardFile() { unlink(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

Board& Open(const std::string& path) {
  const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  void* at = mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (at == MAP_FAILED) std::abort();
  return *static_cast<Board*>(at);
}

int Enter(Board& board) {
  const int now = ++board.running;
  int most = board.most.load();
  while (most < now && !board.most.compare_exchange_weak(most, now)) {
  }
  return now;
}

// Stays a while, so that another would be seen.
int Alone(const std::string& path, int milliseconds) {
  Board& board = Open(path);
  const int now = Enter(board);
  const auto until = sheaf::NowNanos() + milliseconds * 1'000'000l;
  while (sheaf::NowNanos() < until) {
  }
  --board.running;
  return now;
}

// Stays until `others` run at once, or for ten seconds.
int Together(const std::string& path, int others) {
  Board& board = Open(path);
  Enter(board);
  const auto until = sheaf::NowNanos() + 10'000'000'000l;
  while (board.most.load() < others && sheaf::NowNanos() < until) usleep(100);
  return board.most.load();
}

class Resources : public testing::Test {
 protected:
  void SetUp() override {
    setenv("SHEAF_WORKERS", "2", 1);
    sheaf::Init();
  }
  void TearDown() override {
    sheaf::Shutdown();
    unsetenv("SHEAF_WORKERS");
  }
};

TEST_F(Resources, TasksThatNeedAllCpusRunOneAfterTheOther) {
  const BoardFile board;
  std::vector<ObjectRef<int>> wide;
  for (int i = 0; i < 6; ++i) wide.push_back(Task<Alone>({.cpus = 2}).Remote(board.path(), 3));
  for (auto& ref : wide) EXPECT_EQ(ref.Get(), 1);
}

TEST_F(Resources, AWideTaskWaitsUntilTheNarrowOnesHaveMadeRoomAndTheyComeBack) {
  const BoardFile before, during, after;
  std::vector<ObjectRef<int>> pair;
  for (int i = 0; i < 2; ++i) pair.push_back(Remote<Together>(before.path(), 2));
  for (auto& ref : pair) EXPECT_EQ(ref.Get(), 2);
  std::vector<ObjectRef<int>> wide;
  for (int i = 0; i < 4; ++i) wide.push_back(Task<Alone>({.cpus = 1.5}).Remote(during.path(), 3));
  for (auto& ref : wide) EXPECT_EQ(ref.Get(), 1);
  pair.clear();
  for (int i = 0; i < 2; ++i) pair.push_back(Remote<Together>(after.path(), 2));
  for (auto& ref : pair) EXPECT_EQ(ref.Get(), 2);
}

TEST_F(Resources, HalfACpuIsAWholeProcess) { EXPECT_EQ(Task<Alone>({.cpus = 0.5}).Remote("/dev/zero", 0).Get(), 1); }

// Takes so much stack that few levels fit into one process.
int Deep(int levels) {
  volatile char room[160 << 10];
  room[0] = 1;
  room[sizeof room - 1] = 1;
  return levels == 0 ? 0 : room[0] + Remote<Deep>(levels - 1).Get();
}

TEST_F(Resources, MoreWaitingTasksThanThereMayBeWorkersEndInALimitError) {
  EXPECT_EQ(Remote<Deep>(200).Get(), 200);
  try {
    Remote<Deep>(6000).Get();
    FAIL() << "six thousand levels of 160 KiB fit into no pool of 66 processes";
  } catch (const sheaf::LimitError& error) {
    EXPECT_NE(std::string(error.what()).find("every worker waits"), std::string::npos) << error.what();
  }
  EXPECT_EQ(Remote<Deep>(3).Get(), 3);
}

// ---- custom resources and labels

int AddOne(int x) { return x + 1; }
int GetChild(int x) { return Task<AddOne>({.resources = {{"gpu", 1}}}).Remote(x).Get(); }
int GetPlainChild(int x) { return Remote<AddOne>(x).Get(); }

int DieOnce() { _exit(3); }

class CustomResources : public testing::Test {
 protected:
  void SetUp() override {
    setenv("SHEAF_WORKERS", "3", 1);
    setenv("SHEAF_RESOURCES", "gpu=1,zone:a", 1);
    sheaf::Init();
  }
  void TearDown() override {
    sheaf::Shutdown();
    unsetenv("SHEAF_WORKERS");
    unsetenv("SHEAF_RESOURCES");
  }
};

TEST_F(CustomResources, TasksThatNeedTheOnlyGpuRunOneAfterTheOtherAndOthersBesideThem) {
  const BoardFile alone, beside;
  std::vector<ObjectRef<int>> gpus, others;
  for (int i = 0; i < 6; ++i) gpus.push_back(Task<Alone>({.resources = {{"gpu", 1}}}).Remote(alone.path(), 3));
  for (int i = 0; i < 2; ++i) others.push_back(Remote<Together>(beside.path(), 2));
  for (auto& ref : gpus) EXPECT_EQ(ref.Get(), 1);
  for (auto& ref : others) EXPECT_EQ(ref.Get(), 2);
}

TEST_F(CustomResources, FractionsShareAResource) {
  const BoardFile board;
  std::vector<ObjectRef<int>> halves;
  for (int i = 0; i < 2; ++i) halves.push_back(Task<Together>({.resources = {{"gpu", 0.5}}}).Remote(board.path(), 2));
  for (auto& ref : halves) EXPECT_EQ(ref.Get(), 2);
}

TEST_F(CustomResources, WhatTheMachineHasNotIsInfeasibleAndTheRestGoesOn) {
  const ObjectRef<int> most = Task<AddOne>({.resources = {{"gpu", 1.001}}}).Remote(1);
  const ObjectRef<int> other = Task<AddOne>({.resources = {{"tpu", 1}}}).Remote(1);
  const ObjectRef<int> there = Task<AddOne>({.labels = {{"zone", "b"}}}).Remote(1);
  const ObjectRef<int> here = Task<AddOne>({.resources = {{"gpu", 1}}, .labels = {{"zone", "a"}}}).Remote(1);
  for (const auto& ref : {most, other, there}) {
    try {
      ref.Get();
      FAIL() << "nothing here has that";
    } catch (const sheaf::InfeasibleError& error) {
      EXPECT_NE(std::string(error.what()).find("gpu=1,zone:a"), std::string::npos) << error.what();
    }
  }
  EXPECT_EQ(here.Get(), 2);
  EXPECT_EQ(Remote<AddOne>(1).Get(), 2);
}

TEST_F(CustomResources, AChainGoesFromOneKindOfWorkerToTheOther) {
  ObjectRef<int> sum = Remote<AddOne>(0);
  for (int i = 0; i < 100; ++i) {
    sum = Task<AddOne>({.resources = {{"gpu", 1}}}).Remote(sum);
    sum = Remote<AddOne>(sum);
  }
  EXPECT_EQ(sum.Get(), 201);
  // And many at once, each step submitted for all before the next.
  std::vector<ObjectRef<int>> wide;
  for (int i = 0; i < 300; ++i) wide.push_back(Remote<AddOne>(i));
  for (auto& ref : wide) ref = Task<AddOne>({.resources = {{"gpu", 0.25}}}).Remote(ref);
  for (auto& ref : wide) ref = Remote<AddOne>(ref);
  for (int i = 0; i < 300; ++i) EXPECT_EQ(wide[static_cast<std::size_t>(i)].Get(), i + 3);
}

TEST_F(CustomResources, ChildrenAreRunByWorkersThatHaveWhatTheyNeed) {
  std::vector<ObjectRef<int>> outer;
  for (int i = 0; i < 8; ++i) outer.push_back(Remote<GetChild>(i));
  for (int i = 0; i < 8; ++i) EXPECT_EQ(outer[static_cast<std::size_t>(i)].Get(), i + 1);
  outer.clear();
  // Whoever holds the GPU runs a child that needs the same itself.
  EXPECT_EQ(Task<GetChild>({.resources = {{"gpu", 1}}}).Remote(1).Get(), 2);
  for (int i = 0; i < 8; ++i) outer.push_back(Task<GetPlainChild>({.resources = {{"gpu", 1}}}).Remote(i));
  for (int i = 0; i < 8; ++i) EXPECT_EQ(outer[static_cast<std::size_t>(i)].Get(), i + 1);
}

ObjectRef<int> LaterOnGpu(int x) { return Task<AddOne>({.resources = {{"gpu", 1}}}).Remote(x); }

TEST_F(CustomResources, ATaskMayLeaveAChildOfItsOwnKindBehind) {
  const auto later = Task<LaterOnGpu>({.resources = {{"gpu", 1}}}).Remote(1).Get();
  EXPECT_EQ(later.Get(), 2);
}

TEST(OneCpu, ATaskMayLeaveAChildBehindThatNeedsItsCpu) {
  setenv("SHEAF_WORKERS", "1", 1);
  setenv("SHEAF_RESOURCES", "gpu=1", 1);
  sheaf::Init();
  std::vector<ObjectRef<int>> later;
  for (int i = 0; i < 3; ++i) later.push_back(Remote<LaterOnGpu>(i).Get());
  for (int i = 0; i < 3; ++i) EXPECT_EQ(later[static_cast<std::size_t>(i)].Get(), i + 1);
  EXPECT_EQ(Remote<GetChild>(5).Get(), 6);
  sheaf::Shutdown();
  unsetenv("SHEAF_WORKERS");
  unsetenv("SHEAF_RESOURCES");
}

TEST_F(CustomResources, AWorkerThatDiesGivesItsResourceBack) {
  for (int i = 0; i < 5; ++i) {
    EXPECT_THROW(Task<DieOnce>({.retries = 0, .resources = {{"gpu", 1}}}).Remote().Get(), sheaf::WorkerDiedError);
    EXPECT_EQ(Task<AddOne>({.resources = {{"gpu", 1}}}).Remote(i).Get(), i + 1);
  }
}

TEST_F(CustomResources, NamesAndAmountsThatCannotBeAreRefusedAtOnce) {
  EXPECT_THROW(Task<AddOne>({.resources = {{"g pu", 1}}}), sheaf::Error);
  EXPECT_THROW(Task<AddOne>({.resources = {{"gpu", 0}}}), sheaf::Error);
  EXPECT_THROW(Task<AddOne>({.resources = {{"gpu", -1}}}), sheaf::Error);
  EXPECT_THROW(Task<AddOne>({.resources = {{"gpu", 1e300}}}), sheaf::Error);
  EXPECT_THROW(Task<AddOne>({.labels = {{"zone", ""}}}), sheaf::Error);
}

TEST_F(CustomResources, MoreDifferentNeedsThanAProcessMayHaveEndInALimitError) {
  for (int i = 1; i <= 15; ++i) EXPECT_EQ(Task<AddOne>({.resources = {{"gpu", i / 1000.0}}}).Remote(i).Get(), i + 1);
  EXPECT_THROW(Task<AddOne>({.resources = {{"gpu", 0.5}}}).Remote(1), sheaf::LimitError);
  EXPECT_EQ(Task<AddOne>({.resources = {{"gpu", 0.003}}}).Remote(1).Get(), 2);
}

}  // namespace
