#include "worker/relay/twin_place.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <vector>

#include "base/hex.h"

namespace sheaf::relay {
namespace {

// With the machine's name: locks of one that shares this home directory may not be seen here.
std::string Prefix() {
  char machine[65] = {};
  gethostname(machine, sizeof machine - 1);
  return std::string("job-") + machine + "-";
}

std::string Failed(const std::string& what, const std::string& path) {
  return "cannot " + what + " " + path + ": " + std::strerror(errno);
}

// Shares the bytes where the file system can.
bool CopyBytes(int from, int to, std::uint64_t bytes) {
  std::vector<char> buffer;
  while (bytes > 0) {
    ssize_t some = buffer.empty() ? copy_file_range(from, nullptr, to, nullptr, bytes, 0) : 0;
    if (some <= 0) {
      buffer.resize(1 << 20);
      some = read(from, buffer.data(), std::min<std::uint64_t>(bytes, buffer.size()));
      if (some == 0) errno = EIO;  // shorter than it was
      if (some <= 0) return false;
      const ssize_t written = write(to, buffer.data(), static_cast<std::size_t>(some));
      if (written != some) return false;
    }
    bytes -= static_cast<std::uint64_t>(some);
  }
  return true;
}

}  // namespace

constexpr std::size_t kSigns = 6;  // that mkdtemp makes up

std::string TwinPlace::Make() {
  if (!path_.empty()) return {};
  for (int attempt = 0; attempt < 16; ++attempt) {
    std::string made = cache_ + "/" + Prefix() + "XXXXXX";
    if (!mkdtemp(made.data())) return Failed("make", made);
    Fd lock(open(made.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
    if (lock && flock(lock.get(), LOCK_EX) != 0 && errno == EINTR) continue;
    struct stat info{};
    // Between its making and its lock it looks like one that was left: somebody's sweep may have taken it.
    if (!lock || stat(made.c_str(), &info) != 0) continue;
    lock_ = std::move(lock);
    path_ = made;
    return {};
  }
  return Failed("keep a directory in", cache_);
}

std::string TwinPlace::MakeFolder(const char* name, std::string* path) {
  if (!path->empty()) return {};
  if (std::string why = Make(); !why.empty()) return why;
  const std::string folder = path_ + "/" + name;
  if (mkdir(folder.c_str(), 0700) != 0) return Failed("make", folder);
  *path = folder;
  return {};
}

std::string TwinPlace::AddLibrary(const std::string& name, const Hash& hash) {
  if (std::string why = MakeFolder("libraries", &libraries_); !why.empty()) return why;
  const std::string link = libraries_ + "/" + name;
  // Not a hard link: that changes the copy's times, by which it is known to be what was verified.
  if (symlink((cache_ + "/" + HexOf(hash.data(), hash.size())).c_str(), link.c_str()) != 0) return Failed("make", link);
  return {};
}

std::string TwinPlace::MakeWork() { return MakeFolder("work", &work_); }

std::string TwinPlace::AddFile(const std::string& name, const Hash& hash, std::uint64_t bytes, bool executable) {
  if (std::string why = MakeWork(); !why.empty()) return why;
  // Nothing is there but what this function has made: no link leads out.
  for (std::size_t at = name.find('/'); at != name.npos; at = name.find('/', at + 1)) {
    const std::string folder = work_ + "/" + name.substr(0, at);
    if (mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) return Failed("make", folder);
  }
  const std::string path = work_ + "/" + name, source = cache_ + "/" + HexOf(hash.data(), hash.size());
  const Fd to(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
                   executable ? S_IRWXU : S_IRUSR | S_IWUSR));
  if (!to) return Failed("make", path);
  if (bytes == 0) return {};
  const Fd from(open(source.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!from) return Failed("read", source);
  return CopyBytes(from.get(), to.get(), bytes) ? std::string() : Failed("write", path);
}

void TwinPlace::Remove() {
  std::error_code ignored;
  if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
}

void TwinPlace::Sweep(const std::string& cache) {
  std::error_code error;
  for (std::filesystem::directory_iterator at(cache, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (!name.starts_with(Prefix()) || name.size() != Prefix().size() + kSigns)
      continue;  // of this machine, not of node-2
    const Fd lock(open(at->path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
    std::error_code ignored;
    if (lock && flock(lock.get(), LOCK_EX | LOCK_NB) == 0) std::filesystem::remove_all(at->path(), ignored);
  }
}

}  // namespace sheaf::relay
