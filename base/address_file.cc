#include "base/address_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <tuple>

namespace sheaf {
namespace {

constexpr std::size_t kAddressBytesMax = 4096;
constexpr std::string_view kSuffix = ".address";

std::string Reason(std::string_view doing, const std::string& path) {
  return std::string(doing) + " " + path + ": " + std::strerror(errno);
}

}  // namespace

std::string RuntimeDirectory(std::string* error) {
  std::string path;
  if (const char* xdg = std::getenv("XDG_RUNTIME_DIR"); xdg != nullptr && xdg[0] == '/') {
    path = std::string(xdg) + "/sheaf";
  } else {
    const char* tmp = std::getenv("TMPDIR");
    path = std::string(tmp != nullptr && tmp[0] == '/' ? tmp : "/tmp") + "/sheaf-" + std::to_string(getuid());
  }
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    *error = Reason("cannot make", path);
    return {};
  }
  struct stat info{};
  if (lstat(path.c_str(), &info) != 0) {
    *error = Reason("cannot look at", path);
    return {};
  }
  // /tmp belongs to everybody: somebody else may have made the name first, to lend us his directory.
  if (!S_ISDIR(info.st_mode) || info.st_uid != getuid() || (info.st_mode & 077) != 0) {
    *error = path +
             " is not a directory of mode 0700 that belongs to this user; remove it, or set "
             "XDG_RUNTIME_DIR";
    return {};
  }
  return path;
}

bool WriteAddressFile(const std::string& path, std::string_view address, std::string* error) {
  const std::string beside = path + "." + std::to_string(getpid()) + ".new";
  unlink(beside.c_str());
  const int fd = open(beside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) {
    *error = Reason("cannot write", beside);
    return false;
  }
  const std::string text = std::string(address) + "\n";
  const ssize_t written = write(fd, text.data(), text.size());
  const bool whole = written == static_cast<ssize_t>(text.size());
  if (!whole && written >= 0) errno = ENOSPC;
  if (close(fd) != 0 || !whole || rename(beside.c_str(), path.c_str()) != 0) {
    *error = Reason("cannot write", path);
    unlink(beside.c_str());
    return false;
  }
  return true;
}

std::string ReadAddressFile(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return {};
  std::string text(kAddressBytesMax + 1, '\0');
  const ssize_t got = read(fd, text.data(), text.size());
  close(fd);
  if (got <= 0 || static_cast<std::size_t>(got) > kAddressBytesMax) return {};
  text.resize(static_cast<std::size_t>(got));
  return text.substr(0, text.find('\n'));
}

std::string AnnouncedPath(const std::string& directory, std::string_view kind, std::uint32_t pid) {
  return directory + "/" + std::string(kind) + "-" + std::to_string(pid) + std::string(kSuffix);
}

std::vector<FoundAddress> ListAnnounced(const std::string& directory) {
  std::vector<FoundAddress> found;
  DIR* dir = opendir(directory.c_str());
  if (dir == nullptr) return found;
  while (const dirent* entry = readdir(dir)) {
    const std::string_view name = entry->d_name;
    const std::size_t dash = name.rfind('-');
    if (!name.ends_with(kSuffix) || dash == std::string_view::npos) continue;
    const char* begin = name.data() + dash + 1;
    const char* end = name.data() + name.size() - kSuffix.size();
    FoundAddress one;
    const auto [stop, fault] = std::from_chars(begin, end, one.pid);
    if (fault != std::errc() || stop != end || one.pid == 0) continue;
    one.kind = std::string(name.substr(0, dash));
    one.path = directory + "/" + std::string(name);
    if (kill(static_cast<pid_t>(one.pid), 0) != 0 && errno == ESRCH) {
      unlink(one.path.c_str());  // its owner was killed: nobody else will tidy up
      continue;
    }
    one.address = ReadAddressFile(one.path);
    if (!one.address.empty()) found.push_back(std::move(one));
  }
  closedir(dir);
  std::sort(found.begin(), found.end(), [](const FoundAddress& a, const FoundAddress& b) {
    return std::tie(a.kind, a.pid) < std::tie(b.kind, b.pid);
  });
  return found;
}

}  // namespace sheaf
