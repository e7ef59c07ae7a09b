// The state store in one SQLite file: the default, for one scheduler on one machine.
//
// Write-ahead log, synchronous=FULL, exclusive lock for the life of the object: two schedulers cannot share a file,
// and a killed one leaves it as after its last acknowledged change. A file of an earlier format is brought up to date when it is
// opened, in the transaction that begins the epoch. Not synchronised: one thread.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "scheduler/state_store.h"

struct sqlite3;

namespace sheaf::scheduler {

class SqliteState final : public StateStore {
 public:
  // `path` names the file; it is made if absent, its directory is not. Nothing is touched before Open.
  explicit SqliteState(std::string path);
  ~SqliteState() override;

  StateStatus Open(OpenedState* state) override;
  StateStatus PutPool(const PoolIdentity& pool) override;
  StateStatus ErasePool(std::string_view pool_id) override;
  StateStatus ChangeGrants(const std::vector<GrantRecord>& put, const std::vector<std::uint64_t>& erase) override;

  // Bounds the file to so many pages of 4096 bytes. For tests of a full disk.
  StateStatus LimitPages(int pages);

 private:
  struct Closer {
    void operator()(sqlite3* db) const;
  };

  StateStatus Execute(const char* sql);
  StateStatus Fail(int code, std::string_view doing) const;
  StateStatus Prepare();                 // reads the format
  StateStatus Load(OpenedState* state);  // inside one transaction
  StateStatus Migrate();
  StateStatus BeginEpoch(OpenedState* state);
  StateStatus ReadPools(OpenedState* state);
  StateStatus ReadGrants(OpenedState* state);
  StateStatus WriteGrants(const std::vector<GrantRecord>& put, const std::vector<std::uint64_t>& erase);

  std::string path_;
  std::unique_ptr<sqlite3, Closer> db_;
  std::uint64_t format_ = 0;  // of the file as it was found; 0: a new one
};

}  // namespace sheaf::scheduler
