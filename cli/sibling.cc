#include "cli/sibling.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "cli/exit_code.h"

namespace sheaf::cli {

void BecomeSibling(const char* name, char* const* arguments) {
  char own[4096];
  const ssize_t size = readlink("/proc/self/exe", own, sizeof own);
  if (size <= 0 || size == sizeof own) {
    std::fprintf(stderr, "sheaf: cannot find out where it lies: is /proc mounted?\n");
    std::exit(kExitFailed);
  }
  const std::string self(own, static_cast<std::size_t>(size));
  const std::string directory = self.substr(0, self.rfind('/'));
  for (const std::string& path : {directory + "/" + name, directory + "/../libexec/sheaf/" + name}) {
    execv(path.c_str(), arguments);
    if (errno != ENOENT) {
      std::fprintf(stderr, "sheaf: cannot start %s: %s\n", path.c_str(), std::strerror(errno));
      std::exit(kExitFailed);
    }
  }
  std::fprintf(stderr, "sheaf: its other part, %s, does not lie beside it in %s\n", name, directory.c_str());
  std::exit(kExitFailed);
}

}  // namespace sheaf::cli
