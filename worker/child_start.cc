#include "worker/child_start.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "base/fd.h"

namespace sheaf {
namespace {

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (const std::string& text : strings) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

// Runs in the child, on memory that it may share with the suspended parent: system calls only. Returns errno.
int BecomeChild(const ChildStart& start, pid_t parent, int null_fd, char** arguments, char** environment) {
  if (setpgid(0, 0) != 0) return errno;
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return errno;
  if (getppid() != parent) return ECHILD;  // it died before the signal was armed
  // Every source is at 10 or above, so no target below overwrites one.
  if (dup2(null_fd, 0) < 0) return errno;
  if (start.standard_output >= 0 && dup2(start.standard_output, 1) < 0) return errno;
  if (start.standard_error >= 0 && dup2(start.standard_error, 2) < 0) return errno;
  if (start.socket >= 0 && dup2(start.socket, 3) < 0) return errno;
  if (start.second >= 0 && dup2(start.second, 4) < 0) return errno;
  const unsigned first_closed = start.second >= 0 ? 5 : start.socket >= 0 ? 4 : 3;
  if (syscall(SYS_close_range, first_closed, ~0u, CLOSE_RANGE_CLOEXEC) != 0) return errno;
  if (!start.directory.empty() && chdir(start.directory.c_str()) != 0) return errno;
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGCHLD}) {
    struct sigaction usual{};
    usual.sa_handler = SIG_DFL;
    sigaction(signal, &usual, nullptr);
  }
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  // The last: what is above needs descriptors and memory of the supervisor's size.
  if (const int error = ApplySoftLimits(start.limits); error != 0) return error;
  fexecve(start.executable, arguments, environment);
  return errno;
}

// A function of its own: what the child may leave in registers is nobody else's.
[[gnu::noinline]] pid_t Fork(const ChildStart& start, pid_t parent, int null_fd, char** arguments, char** environment,
                             int report) {
  const pid_t pid = vfork();
  if (pid != 0) return pid;
  const int failure = BecomeChild(start, parent, null_fd, arguments, environment);
  (void)!write(report, &failure, sizeof failure);
  _exit(127);
}

}  // namespace

pid_t StartChild(const ChildStart& given, int* error) {
  ChildStart start = given;
  std::vector<Fd> high;
  const auto lift = [&](int* fd) {
    if (*fd < 0) return true;
    high.emplace_back(fcntl(*fd, F_DUPFD_CLOEXEC, 10));
    *fd = high.back().get();
    return *fd >= 0;
  };
  int null_fd = -1;
  Fd null_low(open("/dev/null", O_RDONLY | O_CLOEXEC));
  null_fd = null_low.get();
  if (null_fd < 0 || !lift(&null_fd) || !lift(&start.executable) || !lift(&start.standard_output) ||
      !lift(&start.standard_error) || !lift(&start.socket) || !lift(&start.second)) {
    *error = errno;
    return -1;
  }
  // The child reports a failed step here; a successful exec closes it. (Not through memory: ThreadSanitizer makes a
  // fork of every vfork.)
  int report[2];
  if (pipe2(report, O_CLOEXEC) != 0) {
    *error = errno;
    return -1;
  }
  const Fd reading(report[0]);
  Fd writing(fcntl(report[1], F_DUPFD_CLOEXEC, 10));
  close(report[1]);
  std::vector<char*> arguments = Pointers(start.arguments);
  std::vector<char*> environment = Pointers(start.environment);
  const pid_t parent = getpid();
  // Handlers of the parent must not run in the child while it borrows the parent's memory: block everything.
  sigset_t all, before;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, &before);
  const pid_t pid = Fork(start, parent, null_fd, arguments.data(), environment.data(), writing.get());
  const int fork_error = errno;
  sigprocmask(SIG_SETMASK, &before, nullptr);
  writing.Reset();
  int failure = 0;
  if (pid < 0)
    failure = fork_error;
  else if (read(reading.get(), &failure, sizeof failure) != sizeof failure)
    failure = 0;
  if (failure != 0) {
    *error = failure;
    return -1;  // a child that failed before exec is reaped with the others, as one that nobody knows
  }
  *error = 0;
  return pid;
}

}  // namespace sheaf
