// store.weights.pss: growth of the summed PSS of driver, pool, supervisor and 8 workers when all 8
// workers read all of 1 GiB of weights, per byte of weights. One copy in all: 1.
//
// Usage: weights [--workers N] [--mib N]
#include <cstring>
#include <set>

#include "bench/programs/driver.h"
#include "bench/programs/process.h"

namespace {

struct Seen {
  std::int64_t pid = 0;
  double sum = 0;
};

// Reads every element, then stays until all others have begun or 4 s have passed, so that the others go
// to other workers. Who has begun is told through files: tasks share nothing else.
Seen ReadAll(const sheaf::Array<float>& weights, const std::string& folder, std::int64_t workers) {
  const std::string own = folder + "/" + std::to_string(getpid());
  std::ofstream(own) << "here";
  double sum = 0;
  for (const float weight : weights.span()) sum += weight;
  for (int tries = 0; tries < 4000; ++tries) {
    std::int64_t here = -2;  // . and ..
    DIR* dir = opendir(folder.c_str());
    while (readdir(dir)) ++here;
    closedir(dir);
    if (here >= workers) break;
    usleep(1000);
  }
  return {getpid(), sum};
}

// Makes all workers read the array; false if some did not get a task in several tries.
bool OnAllWorkers(const sheaf::ObjectRef<sheaf::Array<float>>& ref, std::int64_t workers, double expected) {
  char folder[] = "/tmp/sheaf-bench-XXXXXX";
  if (!mkdtemp(folder)) bench::Die("mkdtemp failed");
  std::set<std::int64_t> pids;
  for (int tries = 0; tries < 5 && static_cast<std::int64_t>(pids.size()) < workers; ++tries) {
    std::vector<sheaf::ObjectRef<Seen>> seen;
    for (std::int64_t i = 0; i < workers; ++i) {
      seen.push_back(sheaf::Remote<ReadAll>(ref, std::string(folder), workers));
    }
    for (const auto& one : seen) {
      const Seen result = one.Get();
      if (result.sum != expected) bench::Die("a worker read something else");
      pids.insert(bench::CheckedPid(result.pid));
    }
  }
  for (const auto pid : pids) unlink((std::string(folder) + "/" + std::to_string(pid)).c_str());
  rmdir(folder);
  return static_cast<std::int64_t>(pids.size()) == workers;
}

sheaf::ObjectRef<sheaf::Array<float>> PutOnes(std::size_t count) {
  sheaf::ArrayBuilder<float> builder(count, 1.0f);
  return sheaf::Put(std::move(builder).Seal());
}

}  // namespace

int main(int argc, char** argv) {
  const auto workers = bench::Flag(argc, argv, "workers", std::int64_t{8});
  const auto mib = bench::Flag(argc, argv, "mib", std::int64_t{1024});
  const auto count = static_cast<std::size_t>(mib) << 18;
  bench::Start(workers);
  bench::Report report;
  if (!OnAllWorkers(PutOnes(1024), workers, 1024)) {  // all workers are up before the first look
    report.Missing("store.weights.pss", "the tasks did not spread over all workers");
    report.Print();
    return 0;
  }
  const long before = bench::PssKb(bench::Family());
  const auto ref = PutOnes(count);
  if (!OnAllWorkers(ref, workers, static_cast<double>(count))) {
    report.Missing("store.weights.pss", "the tasks did not spread over all workers");
  } else {
    const long after = bench::PssKb(bench::Family());
    report.Add("store.weights.pss", static_cast<double>(after - before) / static_cast<double>(mib * 1024));
  }
  report.Print();
}
