// The state store in one SQLite file: the default, for one scheduler on one machine.
//
// Write-ahead log, synchronous=FULL, exclusive lock for the life of the object: two schedulers cannot share a file,
// and a killed one leaves it as after its last acknowledged change. Not synchronised: one thread.
#pragma once

#include <memory>
#include <string>
#include <string_view>

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

  // Bounds the file to so many pages of 4096 bytes. For tests of a full disk.
  StateStatus LimitPages(int pages);

 private:
  struct Closer {
    void operator()(sqlite3* db) const;
  };

  StateStatus Execute(const char* sql);
  StateStatus Fail(int code, std::string_view doing) const;
  StateStatus Prepare();                 // format, tables
  StateStatus Load(OpenedState* state);  // inside one transaction

  std::string path_;
  std::unique_ptr<sqlite3, Closer> db_;
};

}  // namespace sheaf::scheduler
