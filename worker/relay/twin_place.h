// The directory of one job's twin on a machine that lends to it: what only this job sees there, gone when its far half is.
//
// A far half may be killed at any time; so its directory is locked for as long as it lives, and whoever comes next removes
// those without a lock.
#pragma once

#include <cstdint>
#include <string>

#include "base/fd.h"
#include "worker/relay/program_copy.h"

namespace sheaf::relay {

class TwinPlace {
 public:
  explicit TwinPlace(std::string cache) : cache_(std::move(cache)) {}

  // Each is empty, or why not. The directory is made by the first that needs it.
  std::string AddLibrary(const std::string& name, const Hash& hash);  // the copy is in the cache
  std::string MakeWork();
  // Into the working directory: a copy of its own, as tasks may write to it. `bytes`: of the copy in the cache.
  std::string AddFile(const std::string& name, const Hash& hash, std::uint64_t bytes, bool executable);

  // Empty where nothing was added.
  const std::string& libraries() const { return libraries_; }
  const std::string& work() const { return work_; }

  void Remove();  // any thread, more than once
  static void Sweep(const std::string& cache);

 private:
  std::string Make();
  std::string MakeFolder(const char* name, std::string* path);

  const std::string cache_;
  std::string path_, libraries_, work_;
  Fd lock_;
};

}  // namespace sheaf::relay
