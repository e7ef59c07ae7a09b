#include "cli/doctor.h"

#include <fcntl.h>
#include <linux/membarrier.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>

#include "base/address_file.h"
#include "base/fd.h"
#include "cli/exit_code.h"
#include "cli/status_view.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

namespace sheaf::cli {
namespace {

class Report {
 public:
  void Line(bool good, const char* what, const std::string& found, const char* advice) {
    std::printf("%-5s %-28s %s\n", good ? "ok" : "FAIL", what, found.c_str());
    if (good) return;
    std::printf("      %-28s %s\n", "", advice);
    failed_ = true;
  }
  bool failed() const { return failed_; }

 private:
  bool failed_ = false;
};

// A segment as pools make them: its writer keeps its mapping, nobody else gets a writable one.
void CheckSeals(Report* report) {
  const char* const what = "sealed shared memory";
  const char* const advice =
      "needs memfd_create with F_SEAL_FUTURE_WRITE: Linux 5.1 or later, not "
      "filtered by a container's seccomp profile";
  const Fd fd(memfd_create("sheaf-doctor", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  const bool made = fd && ftruncate(fd.get(), 4096) == 0;
  void* mapped = made ? mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0) : MAP_FAILED;
  if (mapped == MAP_FAILED) {
    report->Line(false, what, std::strerror(errno), advice);
    return;
  }
  const bool sealed =
      fcntl(fd.get(), F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0;
  const std::string path = "/proc/self/fd/" + std::to_string(fd.get());
  const Fd reader(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  void* again = reader ? mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, reader.get(), 0) : MAP_FAILED;
  const bool refused = again == MAP_FAILED;
  if (!refused) munmap(again, 4096);
  munmap(mapped, 4096);
  report->Line(sealed && reader && refused, what,
               sealed && reader && refused ? "writers write, readers cannot" : "not enforced", advice);
}

void CheckFutexWaitv(Report* report) {
#ifdef SYS_futex_waitv
  const long result = syscall(SYS_futex_waitv, nullptr, 0, 0, nullptr, 0);
  const bool there = !(result < 0 && errno == ENOSYS);
#else
  const bool there = false;
#endif
  report->Line(there, "futex_waitv", there ? "there" : "missing",
               "workers sleep on several words at once: needs Linux 5.16 or later");
}

void CheckMembarrier(Report* report) {
  const long commands = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
  const bool there = commands > 0 && (commands & MEMBARRIER_CMD_PRIVATE_EXPEDITED) != 0;
  report->Line(there, "membarrier", there ? "there" : "missing", "needs Linux 4.14 or later");
}

void CheckPidfd(Report* report) {
  const Fd self(static_cast<int>(syscall(SYS_pidfd_open, getpid(), 0)));
  report->Line(static_cast<bool>(self), "pidfd", self ? "there" : std::strerror(errno),
               "a pool watches its workers by it: needs Linux 5.3 or later");
}

void CheckFiles(Report* report) {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  const bool unlimited = limit.rlim_max == RLIM_INFINITY;
  report->Line(unlimited || limit.rlim_max >= 4096, "open files",
               unlimited ? "unlimited" : std::to_string(limit.rlim_max) + " at most",
               "a pool keeps one descriptor per memory segment: raise the limit to 4096 or more "
               "(ulimit -Hn)");
}

void CheckMemory(Report* report) {
  const std::uint64_t pages = static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES));
  const std::uint64_t bytes = pages * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  report->Line(bytes >= (std::uint64_t{256} << 20), "memory",
               HumanBytes(bytes) + ", " + HumanBytes(bytes / 2) + " of it for objects by default",
               "a pool with a few workers needs 256 MiB");
}

void CheckRuntimeDirectory(Report* report) {
  std::string error;
  const std::string directory = RuntimeDirectory(&error);
  report->Line(!directory.empty(), "runtime directory", directory.empty() ? error : directory,
               "daemons keep their sockets and addresses there");
}

void CheckProc(Report* report) {
  char own[8];
  const bool there = readlink("/proc/self/exe", own, sizeof own) > 0;
  report->Line(there, "/proc", there ? "mounted" : "missing",
               "segments are reopened through it: mount -t proc proc /proc");
}

}  // namespace

int RunDoctor() {
  Report report;
  CheckProc(&report);
  CheckSeals(&report);
  CheckFutexWaitv(&report);
  CheckMembarrier(&report);
  CheckPidfd(&report);
  CheckFiles(&report);
  CheckMemory(&report);
  CheckRuntimeDirectory(&report);
  return report.failed() ? kExitFailed : kExitOk;
}

}  // namespace sheaf::cli
