// How a program becomes a worker before its main.
//
// The library stands in for the C library's start routine: static initialisers have run (so every Remote<F> is
// registered), main has not. A process is a worker only if the announced descriptor is a connected packet socket; the
// environment alone proves nothing. A fully static executable has no dlsym: there nothing is taken over, and the pool
// reports that its workers never attach.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <string>

#include "proto/local_wire.h"
#include "runtime/context.h"
#include "worker/executor.h"

namespace sheaf::worker {
namespace {

bool StartedAsWorker() {
  if (!std::getenv(wire::kWorkerEnvironment)) return false;
  int type = 0;
  socklen_t size = sizeof type;
  return getsockopt(wire::kWorkerSocketFd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET;
}

int RunWorker(int, char**, char**) {
  const auto spawn = static_cast<std::uint32_t>(std::strtoul(std::getenv(wire::kWorkerEnvironment), nullptr, 10));
  unsetenv(wire::kWorkerEnvironment);  // children of the user's code are no workers
  const char* needs = std::getenv(wire::kWorkerNeedsEnvironment);
  const std::string own_needs = needs ? needs : "";
  unsetenv(wire::kWorkerNeedsEnvironment);
  fcntl(wire::kWorkerSocketFd, F_SETFD, FD_CLOEXEC);
  // A line is seen when it is written, at the driver's terminal or file, whichever machine this is, and is not lost with the process.
  setvbuf(stdout, nullptr, _IOLBF, 0);
  int code = 0;
  try {
    auto context = runtime::Context::Attach(runtime::UniqueFd(wire::kWorkerSocketFd), wire::Role::kWorker, spawn);
    context->socket().EndProcessWhenLost(0);
    context->submitter().own_needs = own_needs;
    runtime::SetCurrentContext(context.get());
    Executor executor(*context);
    context->Start();
    code = executor.Run();
    std::fflush(nullptr);
    // Objects of this worker outlive it: nothing is torn down, the pool keeps the memory.
    _exit(code);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "sheaf: worker could not start: %s\n", error.what());
    code = 71;
  }
  _exit(code);
}

}  // namespace

// Referenced by the public library, so that a static link keeps this file.
int worker_entry_linked = 1;

}  // namespace sheaf::worker

extern "C" {

using MainFunction = int (*)(int, char**, char**);
using StartFunction = int (*)(MainFunction, int, char**, void (*)(), void (*)(), void (*)(), void*);

// The name is the C library's, and reserved: that is the point.
int __libc_start_main(MainFunction main_function, int argc, char** argv, void (*init)(), void (*fini)(),
                      void (*rtld_fini)(), void* stack_end) {
  static const auto real = reinterpret_cast<StartFunction>(dlsym(RTLD_NEXT, "__libc_start_main"));
  if (!real) {
    const char text[] = "sheaf: the C library's start routine was not found\n";
    if (write(STDERR_FILENO, text, sizeof text - 1) < 0) abort();
    abort();
  }
  if (sheaf::worker::StartedAsWorker()) main_function = sheaf::worker::RunWorker;
  return real(main_function, argc, argv, init, fini, rtld_fini, stack_end);
}
}
