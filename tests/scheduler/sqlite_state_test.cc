#include "scheduler/sqlite_state.h"

#include <gtest/gtest.h>
#include <sqlite3.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace sheaf::scheduler {
namespace {

class SqliteStateTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "/sheaf_state_XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
    path_ = directory_ + "/state.db";
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  static PoolIdentity Pool(const std::string& id, std::uint64_t incarnation = 1) {
    PoolIdentity pool;
    pool.pool_id = id;
    pool.incarnation = incarnation;
    pool.machine = "box";
    pool.address = "/run/" + id + ".sock";
    pool.version = "0.1.0";
    pool.pid = 42;
    return pool;
  }

  static GrantRecord Grant(std::uint64_t epoch, std::uint64_t number) {
    GrantRecord grant;
    grant.id = (epoch << 40) + number;
    grant.borrower = "near";
    grant.borrower_incarnation = (std::uint64_t{1} << 63) + 5;
    grant.job = 4096;
    grant.lender = "far";
    grant.lender_incarnation = 7;
    grant.slots = 3;
    grant.cpus_milli = 1500;
    grant.since = 1'700'000'000'000'000'000;
    return grant;
  }
  // The file as it is at this moment, for another to open: what a kill leaves.
  std::string Snapshot() {
    const std::string copy = directory_ + "/copy.db";
    for (const char* part : {"", "-wal"})
      std::filesystem::copy_file(path_ + part, copy + part, std::filesystem::copy_options::overwrite_existing);
    return copy;
  }
  void Run(const char* sql) {
    sqlite3* db = nullptr;
    ASSERT_EQ(sqlite3_open(path_.c_str(), &db), SQLITE_OK);
    char* why = nullptr;
    ASSERT_EQ(sqlite3_exec(db, sql, nullptr, nullptr, &why), SQLITE_OK) << why;
    sqlite3_close(db);
  }

  OpenedState Opened(SqliteState* state) {
    OpenedState opened;
    const StateStatus status = state->Open(&opened);
    EXPECT_TRUE(status.ok()) << status.message;
    return opened;
  }

  std::string directory_, path_;
};

TEST_F(SqliteStateTest, KeepsTheClusterAndBeginsANewEpochAtEachStart) {
  std::string cluster;
  for (std::uint64_t epoch = 1; epoch <= 3; ++epoch) {
    SqliteState state(path_);
    const OpenedState opened = Opened(&state);
    EXPECT_EQ(opened.epoch, epoch);
    EXPECT_EQ(opened.cluster_id.size(), 32u);
    if (epoch == 1) cluster = opened.cluster_id;
    EXPECT_EQ(opened.cluster_id, cluster);
  }
  SqliteState other(directory_ + "/other.db");
  EXPECT_NE(Opened(&other).cluster_id, cluster);
}

TEST_F(SqliteStateTest, RemembersPoolsAsTheyWereLastPut) {
  {
    SqliteState state(path_);
    Opened(&state);
    EXPECT_TRUE(state.PutPool(Pool("b")).ok());
    EXPECT_TRUE(state.PutPool(Pool("a", 1)).ok());
    EXPECT_TRUE(state.PutPool(Pool("a", (std::uint64_t{1} << 63) + 5)).ok());
    EXPECT_TRUE(state.PutPool(Pool("c")).ok());
    EXPECT_TRUE(state.ErasePool("c").ok());
    EXPECT_TRUE(state.ErasePool("never there").ok());
  }
  SqliteState state(path_);
  const OpenedState opened = Opened(&state);
  ASSERT_EQ(opened.pools.size(), 2u);
  EXPECT_EQ(opened.pools[0], Pool("a", (std::uint64_t{1} << 63) + 5));
  EXPECT_EQ(opened.pools[1], Pool("b"));
}

TEST_F(SqliteStateTest, RemembersTheGrantsInForceOverAKill) {
  SqliteState state(path_);
  EXPECT_TRUE(Opened(&state).grants.empty());
  ASSERT_TRUE(state.ChangeGrants({Grant(1, 1), Grant(1, 2), Grant(1, 3)}, {}).ok());
  ASSERT_TRUE(state.ChangeGrants({Grant(1, 4)}, {Grant(1, 2).id, 999}).ok());
  ASSERT_TRUE(state.ChangeGrants({Grant(1, 4)}, {}).ok()) << "again, after an answer that was lost";
  SqliteState next(Snapshot());
  const OpenedState opened = Opened(&next);
  EXPECT_EQ(opened.epoch, 2u);
  EXPECT_EQ(opened.grants, (std::vector{Grant(1, 1), Grant(1, 3), Grant(1, 4)}));
}

TEST_F(SqliteStateTest, BeginsAnEpochAboveThatOfEveryGrant) {
  {
    SqliteState state(path_);
    Opened(&state);
    ASSERT_TRUE(state.ChangeGrants({Grant(1, 1), Grant(1, 9)}, {}).ok());
  }
  Run("UPDATE cluster SET epoch=1; UPDATE lent SET epoch=41, id=(41<<40)+9 WHERE id=(1<<40)+9");
  SqliteState state(path_);
  const OpenedState opened = Opened(&state);
  EXPECT_EQ(opened.epoch, 42u) << "else ids of grants would be given twice";
  EXPECT_EQ(opened.grants.size(), 2u);
}

TEST_F(SqliteStateTest, BringsAFileOfTheFormerFormatUpToDate) {
  Run("CREATE TABLE cluster(one INTEGER PRIMARY KEY CHECK(one=1), id TEXT NOT NULL, epoch INTEGER NOT NULL);"
      "CREATE TABLE pool(pool_id TEXT PRIMARY KEY, incarnation INTEGER NOT NULL, machine TEXT NOT NULL,"
      " address TEXT NOT NULL, version TEXT NOT NULL, pid INTEGER NOT NULL) WITHOUT ROWID;"
      "PRAGMA user_version=1; PRAGMA application_id=21352; PRAGMA journal_mode=WAL;"
      "INSERT INTO cluster VALUES(1, '0123456789abcdef0123456789abcdef', 7);"
      "INSERT INTO pool VALUES('a', 1, 'box', '/run/a.sock', '0.1.0', 42)");
  for (const std::uint64_t epoch : {8, 9}) {
    SqliteState state(path_);
    const OpenedState opened = Opened(&state);
    EXPECT_EQ(opened.cluster_id, "0123456789abcdef0123456789abcdef");
    EXPECT_EQ(opened.epoch, epoch);
    EXPECT_EQ(opened.pools, std::vector{Pool("a")});
    EXPECT_EQ(opened.grants.size(), epoch - 8);
    EXPECT_TRUE(state.ChangeGrants({Grant(epoch, 1)}, {}).ok());
  }
}

TEST_F(SqliteStateTest, DoesNotChangeAFormerFileThatItCannotBringUpToDate) {
  Run("CREATE TABLE cluster(one INTEGER PRIMARY KEY CHECK(one=1), id TEXT NOT NULL, epoch INTEGER NOT NULL);"
      "CREATE TABLE lent(something TEXT); PRAGMA user_version=1;"
      "INSERT INTO cluster VALUES(1, '0123456789abcdef0123456789abcdef', 7)");
  {
    SqliteState state(path_);
    OpenedState opened;
    EXPECT_FALSE(state.Open(&opened).ok());
  }
  Run("DROP TABLE lent; CREATE TABLE pool(pool_id TEXT PRIMARY KEY, incarnation INTEGER NOT NULL, machine TEXT NOT "
      "NULL,"
      " address TEXT NOT NULL, version TEXT NOT NULL, pid INTEGER NOT NULL) WITHOUT ROWID");
  SqliteState state(path_);
  EXPECT_EQ(Opened(&state).epoch, 8u) << "neither format nor epoch had changed";
}

TEST_F(SqliteStateTest, WritesABatchOfGrantsWhollyOrNotAtAllWhenTheDiskIsFull) {
  std::size_t stored = 0;
  {
    SqliteState state(path_);
    Opened(&state);
    ASSERT_TRUE(state.LimitPages(16).ok());
    const auto batch = [](std::uint64_t from) {
      std::vector<GrantRecord> grants;
      for (std::uint64_t n = 0; n < 50; ++n) grants.push_back(Grant(1, from + n));
      return grants;
    };
    StateStatus status;
    for (; stored < 5000; stored += 50) {
      status = state.ChangeGrants(batch(stored + 1), {});
      if (!status.ok()) break;
    }
    ASSERT_EQ(status.fault, StateFault::kFull) << status.message;
    ASSERT_GT(stored, 250u);
    EXPECT_EQ(state.ChangeGrants(batch(stored + 1), {}).fault, StateFault::kFull) << "full, not broken";
    std::vector<std::uint64_t> ended;
    for (std::uint64_t n = 1; n <= 200; ++n) ended.push_back(Grant(1, n).id);
    EXPECT_TRUE(state.ChangeGrants(batch(stored + 1), ended).ok()) << "what ended makes room for what began";
  }
  SqliteState state(path_);
  const OpenedState opened = Opened(&state);
  EXPECT_EQ(opened.grants.size(), stored - 150);
  EXPECT_EQ(opened.grants.front(), Grant(1, 201));
  EXPECT_EQ(opened.grants.back(), Grant(1, stored + 50));
}

TEST_F(SqliteStateTest, IsOneSchedulersAtATime) {
  SqliteState first(path_);
  Opened(&first);
  SqliteState second(path_);
  OpenedState opened;
  const StateStatus status = second.Open(&opened);
  EXPECT_EQ(status.fault, StateFault::kBusy);
  EXPECT_NE(status.message.find("--state"), std::string::npos) << status.message;
  EXPECT_TRUE(first.PutPool(Pool("a")).ok()) << "the first one is not disturbed";
}

TEST_F(SqliteStateTest, RefusesAFileThatIsNoDatabase) {
  std::ofstream(path_) << std::string(20000, 'x');
  SqliteState state(path_);
  OpenedState opened;
  const StateStatus status = state.Open(&opened);
  EXPECT_EQ(status.fault, StateFault::kCorrupt);
  EXPECT_NE(status.message.find(path_), std::string::npos) << status.message;
  EXPECT_FALSE(state.PutPool(Pool("a")).ok()) << "a store that did not open stays shut";
}

TEST_F(SqliteStateTest, FindsDamagedPages) {
  {
    SqliteState state(path_);
    Opened(&state);
    for (int i = 0; i < 200; ++i) ASSERT_TRUE(state.PutPool(Pool("p" + std::to_string(i))).ok());
  }
  const auto size = std::filesystem::file_size(path_);
  ASSERT_GT(size, 3 * 4096u);
  {
    std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(4096);
    file << std::string(size - 4096, '\x5a');
  }
  SqliteState state(path_);
  OpenedState opened;
  EXPECT_EQ(state.Open(&opened).fault, StateFault::kCorrupt);
}

TEST_F(SqliteStateTest, FindsATruncatedFile) {
  {
    SqliteState state(path_);
    Opened(&state);
    for (int i = 0; i < 200; ++i) ASSERT_TRUE(state.PutPool(Pool("p" + std::to_string(i))).ok());
  }
  std::filesystem::resize_file(path_, 4096);
  SqliteState state(path_);
  OpenedState opened;
  EXPECT_EQ(state.Open(&opened).fault, StateFault::kCorrupt);
}

TEST_F(SqliteStateTest, LeavesALaterFormatAlone) {
  {
    SqliteState state(path_);
    Opened(&state);
  }
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open(path_.c_str(), &db), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(db, "PRAGMA user_version=3", nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(db);
  SqliteState state(path_);
  OpenedState opened;
  EXPECT_EQ(state.Open(&opened).fault, StateFault::kTooNew);
}

TEST_F(SqliteStateTest, SaysThatTheDiskIsFullAndKeepsWhatItAcknowledged) {
  int stored = 0;
  {
    SqliteState state(path_);
    Opened(&state);
    ASSERT_TRUE(state.LimitPages(8).ok());
    StateStatus status;
    for (; stored < 5000; ++stored) {
      status = state.PutPool(Pool("p" + std::to_string(10000 + stored)));
      if (!status.ok()) break;
    }
    ASSERT_EQ(status.fault, StateFault::kFull) << status.message;
    ASSERT_GT(stored, 10);
    EXPECT_EQ(state.PutPool(Pool("q")).fault, StateFault::kFull) << "full, not broken";
    ASSERT_TRUE(state.LimitPages(1000).ok());
    EXPECT_TRUE(state.PutPool(Pool("q")).ok()) << "works again once there is room";
  }
  SqliteState state(path_);
  EXPECT_EQ(Opened(&state).pools.size(), static_cast<std::size_t>(stored) + 1);
}

TEST_F(SqliteStateTest, SaysThatTheDirectoryIsMissing) {
  SqliteState state(directory_ + "/no/such/state.db");
  OpenedState opened;
  EXPECT_EQ(state.Open(&opened).fault, StateFault::kDenied);
}

}  // namespace
}  // namespace sheaf::scheduler
