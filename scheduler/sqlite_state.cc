#include "scheduler/sqlite_state.h"

#include <sqlite3.h>
#include <sys/random.h>

#include <iterator>
#include <utility>

#include "base/hex.h"

namespace sheaf::scheduler {
namespace {

constexpr int kApplication = 0x5368;  // PRAGMA application_id

// Each takes a file from the format of its place here, PRAGMA user_version, to the next one. A step that was released is not
// changed any more.
constexpr const char* kSteps[] = {
    "CREATE TABLE cluster(one INTEGER PRIMARY KEY CHECK(one=1), id TEXT NOT NULL, epoch INTEGER NOT NULL);"
    "CREATE TABLE pool(pool_id TEXT PRIMARY KEY, incarnation INTEGER NOT NULL, machine TEXT NOT NULL,"
    " address TEXT NOT NULL, version TEXT NOT NULL, pid INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE lent(id INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, borrower TEXT NOT NULL,"
    " borrower_incarnation INTEGER NOT NULL, job INTEGER NOT NULL, lender TEXT NOT NULL,"
    " lender_incarnation INTEGER NOT NULL, slots INTEGER NOT NULL, cpus_milli INTEGER NOT NULL,"
    " since INTEGER NOT NULL)",
};
constexpr int kFormat = static_cast<int>(std::size(kSteps));

// A prepared statement, finalised with its scope.
class Statement {
 public:
  Statement(sqlite3* db, const char* sql) { code_ = sqlite3_prepare_v2(db, sql, -1, &statement_, nullptr); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;
  ~Statement() { sqlite3_finalize(statement_); }

  void Bind(int index, std::string_view text) {
    if (code_ != SQLITE_OK) return;
    code_ = sqlite3_bind_text(statement_, index, text.data(), static_cast<int>(text.size()), SQLITE_TRANSIENT);
  }
  void Bind(int index, std::uint64_t number) {
    if (code_ != SQLITE_OK) return;
    code_ = sqlite3_bind_int64(statement_, index, static_cast<sqlite3_int64>(number));
  }
  // SQLITE_ROW, SQLITE_DONE or an error.
  int Step() { return code_ == SQLITE_OK ? sqlite3_step(statement_) : code_; }
  // To be bound and stepped anew. What went wrong in the last step was its result already.
  void Reset() { sqlite3_reset(statement_); }
  std::string Text(int column) const {
    const auto* text = sqlite3_column_text(statement_, column);
    const int size = sqlite3_column_bytes(statement_, column);
    if (text == nullptr) return {};
    return {reinterpret_cast<const char*>(text), static_cast<std::size_t>(size)};
  }
  std::uint64_t Number(int column) const {
    return static_cast<std::uint64_t>(sqlite3_column_int64(statement_, column));
  }

 private:
  sqlite3_stmt* statement_ = nullptr;
  int code_ = SQLITE_OK;
};

std::string FreshClusterId() {
  unsigned char bytes[16] = {};
  if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes) return {};
  return HexOf(bytes, sizeof bytes);
}

}  // namespace

SqliteState::SqliteState(std::string path) : path_(std::move(path)) {}
SqliteState::~SqliteState() = default;

void SqliteState::Closer::operator()(sqlite3* db) const { sqlite3_close_v2(db); }

StateStatus SqliteState::Fail(int code, std::string_view doing) const {
  const std::string detail = db_ ? sqlite3_errmsg(db_.get()) : sqlite3_errstr(code);
  const std::string where = "state file " + path_ + ": " + std::string(doing) + ": " + detail;
  switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return {StateFault::kBusy, where +
                                     "; another scheduler uses it: stop that one, or give "
                                     "this one its own --state directory"};
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_MISMATCH:
      return {StateFault::kCorrupt, where +
                                        "; move the file away to start a new cluster, running "
                                        "pools join it by themselves"};
    case SQLITE_FULL:
    case SQLITE_TOOBIG:
      return {StateFault::kFull, where +
                                     "; make room on that file system, what was stored before "
                                     "is intact"};
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_AUTH:
      return {StateFault::kDenied, where + "; the directory must exist and be writable"};
    default:
      return {StateFault::kInputOutput, where};
  }
}

StateStatus SqliteState::Execute(const char* sql) {
  const int code = sqlite3_exec(db_.get(), sql, nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? StateStatus{} : Fail(code, sql);
}

StateStatus SqliteState::Open(OpenedState* state) {
  sqlite3* db = nullptr;
  const int code =
      sqlite3_open_v2(path_.c_str(), &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  db_.reset(db);  // also on failure: SQLite hands out a handle that tells why
  StateStatus status;
  if (code != SQLITE_OK) {
    status = Fail(code, "open");
  } else {
    status = Prepare();
    if (status.ok()) status = Load(state);
  }
  if (!status.ok()) db_.reset();
  return status;
}

StateStatus SqliteState::Prepare() {
  sqlite3_extended_result_codes(db_.get(), 1);
  sqlite3_db_config(db_.get(), SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  // Exclusive before the log: then the log needs no shared memory and the lock is never let go.
  for (const char* pragma : {"PRAGMA locking_mode=EXCLUSIVE", "PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL",
                             "PRAGMA trusted_schema=OFF", "PRAGMA journal_size_limit=1048576"}) {
    if (StateStatus status = Execute(pragma); !status.ok()) return status;
  }
  {
    Statement ask(db_.get(), "PRAGMA user_version");
    if (const int code = ask.Step(); code != SQLITE_ROW) return Fail(code, "read the format");
    format_ = ask.Number(0);
  }
  if (format_ > kFormat) {
    return {StateFault::kTooNew, "state file " + path_ + ": format " + std::to_string(format_) + ", this sheaf knows " +
                                     std::to_string(kFormat) + "; use the newer sheaf"};
  }
  {
    Statement check(db_.get(), "PRAGMA quick_check(1)");
    if (const int code = check.Step(); code != SQLITE_ROW) return Fail(code, "check");
    if (check.Text(0) != "ok") return Fail(SQLITE_CORRUPT, "check: " + check.Text(0));
  }
  return {};
}

StateStatus SqliteState::Load(OpenedState* state) {
  if (StateStatus status = Execute("BEGIN EXCLUSIVE"); !status.ok()) return status;
  if (StateStatus status = Migrate(); !status.ok()) return status;
  if (StateStatus status = BeginEpoch(state); !status.ok()) return status;
  if (StateStatus status = ReadPools(state); !status.ok()) return status;
  if (StateStatus status = ReadGrants(state); !status.ok()) return status;
  return Execute("COMMIT");
}

StateStatus SqliteState::Migrate() {
  for (std::uint64_t step = format_; step < kFormat; ++step)
    if (StateStatus status = Execute(kSteps[step]); !status.ok()) return status;
  const std::string format =
      "PRAGMA user_version=" + std::to_string(kFormat) + "; PRAGMA application_id=" + std::to_string(kApplication);
  return Execute(format.c_str());
}

StateStatus SqliteState::BeginEpoch(OpenedState* state) {
  // Ids of grants are numbered by epoch: one that stands here must never be given again.
  Statement bump(db_.get(),
                 "INSERT INTO cluster VALUES(1, ?, 1) ON CONFLICT(one) DO UPDATE"
                 " SET epoch=max(epoch, (SELECT coalesce(max(epoch), 0) FROM lent))+1 RETURNING id, epoch");
  const std::string fresh = FreshClusterId();
  if (fresh.empty()) return {StateFault::kInputOutput, "the system gives no random bytes"};
  bump.Bind(1, fresh);
  if (const int code = bump.Step(); code != SQLITE_ROW) return Fail(code, "begin a new epoch");
  state->cluster_id = bump.Text(0);
  state->epoch = bump.Number(1);
  if (const int code = bump.Step(); code != SQLITE_DONE) return Fail(code, "begin a new epoch");
  if (state->cluster_id.empty() || state->epoch == 0) return Fail(SQLITE_CORRUPT, "cluster row");
  return {};
}

StateStatus SqliteState::ReadPools(OpenedState* state) {
  Statement rows(db_.get(),
                 "SELECT pool_id, incarnation, machine, address, version, pid FROM pool"
                 " ORDER BY pool_id");
  int code = rows.Step();
  for (; code == SQLITE_ROW; code = rows.Step()) {
    PoolIdentity pool;
    pool.pool_id = rows.Text(0);
    pool.incarnation = rows.Number(1);
    pool.machine = rows.Text(2);
    pool.address = rows.Text(3);
    pool.version = rows.Text(4);
    pool.pid = static_cast<std::uint32_t>(rows.Number(5));
    state->pools.push_back(std::move(pool));
  }
  return code == SQLITE_DONE ? StateStatus{} : Fail(code, "read the pools");
}

StateStatus SqliteState::ReadGrants(OpenedState* state) {
  Statement rows(db_.get(),
                 "SELECT id, borrower, borrower_incarnation, job, lender, lender_incarnation, slots, cpus_milli, since"
                 " FROM lent ORDER BY id");
  int code = rows.Step();
  for (; code == SQLITE_ROW; code = rows.Step()) {
    GrantRecord grant;
    grant.id = rows.Number(0);
    grant.borrower = rows.Text(1);
    grant.borrower_incarnation = rows.Number(2);
    grant.job = rows.Number(3);
    grant.lender = rows.Text(4);
    grant.lender_incarnation = rows.Number(5);
    grant.slots = static_cast<std::uint32_t>(rows.Number(6));
    grant.cpus_milli = static_cast<std::uint32_t>(rows.Number(7));
    grant.since = static_cast<Time>(rows.Number(8));
    state->grants.push_back(std::move(grant));
  }
  return code == SQLITE_DONE ? StateStatus{} : Fail(code, "read the grants");
}

StateStatus SqliteState::PutPool(const PoolIdentity& pool) {
  if (!db_) return {StateFault::kInputOutput, "the state file is not open"};
  Statement put(db_.get(), "INSERT OR REPLACE INTO pool VALUES(?,?,?,?,?,?)");
  put.Bind(1, pool.pool_id);
  put.Bind(2, pool.incarnation);
  put.Bind(3, pool.machine);
  put.Bind(4, pool.address);
  put.Bind(5, pool.version);
  put.Bind(6, std::uint64_t{pool.pid});
  const int code = put.Step();
  return code == SQLITE_DONE ? StateStatus{} : Fail(code, "store pool " + pool.pool_id);
}

StateStatus SqliteState::ErasePool(std::string_view pool_id) {
  if (!db_) return {StateFault::kInputOutput, "the state file is not open"};
  Statement erase(db_.get(), "DELETE FROM pool WHERE pool_id=?");
  erase.Bind(1, pool_id);
  const int code = erase.Step();
  return code == SQLITE_DONE ? StateStatus{} : Fail(code, "erase pool " + std::string(pool_id));
}

StateStatus SqliteState::ChangeGrants(const std::vector<GrantRecord>& put, const std::vector<std::uint64_t>& erase) {
  if (!db_) return {StateFault::kInputOutput, "the state file is not open"};
  if (StateStatus status = Execute("BEGIN IMMEDIATE"); !status.ok()) return status;
  StateStatus status = WriteGrants(put, erase);
  if (status.ok()) status = Execute("COMMIT");
  if (!status.ok()) Execute("ROLLBACK");  // fails if SQLite has done so by itself
  return status;
}

StateStatus SqliteState::WriteGrants(const std::vector<GrantRecord>& put, const std::vector<std::uint64_t>& erase) {
  Statement gone(db_.get(), "DELETE FROM lent WHERE id=?");  // first: this makes room
  for (const std::uint64_t grant : erase) {
    gone.Bind(1, grant);
    if (const int code = gone.Step(); code != SQLITE_DONE) return Fail(code, "erase a grant");
    gone.Reset();
  }
  Statement row(db_.get(), "INSERT OR REPLACE INTO lent VALUES(?,?,?,?,?,?,?,?,?,?)");
  for (const GrantRecord& grant : put) {
    row.Bind(1, grant.id);
    row.Bind(2, EpochOf(grant.id));
    row.Bind(3, grant.borrower);
    row.Bind(4, grant.borrower_incarnation);
    row.Bind(5, grant.job);
    row.Bind(6, grant.lender);
    row.Bind(7, grant.lender_incarnation);
    row.Bind(8, std::uint64_t{grant.slots});
    row.Bind(9, std::uint64_t{grant.cpus_milli});
    row.Bind(10, static_cast<std::uint64_t>(grant.since));
    if (const int code = row.Step(); code != SQLITE_DONE) return Fail(code, "store a grant");
    row.Reset();
  }
  return {};
}

StateStatus SqliteState::LimitPages(int pages) {
  return Execute(("PRAGMA max_page_count=" + std::to_string(pages)).c_str());
}

}  // namespace sheaf::scheduler
