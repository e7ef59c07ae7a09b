// Room: ml. Files are read with pread, never mapped: one that is cut short while we read is an error, not a signal.
#include "ml/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "sheaf/error.h"

namespace sheaf::ml {
namespace {

constexpr std::size_t kChunk = std::size_t{64} << 20;

[[noreturn]] void FailPath(const std::string& verb, const std::string& name, int error) {
  throw Error("cannot " + verb + " " + name + ": " + std::strerror(error));
}

}  // namespace

File File::OpenForReading(const std::filesystem::path& path) {
  const std::string name = path.string();
  // Without O_NONBLOCK a FIFO in place of the file would hang the caller.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) FailPath("open", name, errno);
  File file(fd, name, 0);
  struct stat status{};
  if (fstat(fd, &status) != 0) file.Fail("examine");
  if (!S_ISREG(status.st_mode)) throw Error("cannot read " + name + ": it is not a regular file");
  file.size_ = static_cast<std::uint64_t>(status.st_size);
  return file;
}

File File::CreateExclusive(const std::filesystem::path& path) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd < 0) FailPath("create", path.string(), errno);
  return File(fd, path.string(), 0);
}

File::File(File&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), name_(std::move(other.name_)), size_(other.size_) {}

File::~File() {
  if (fd_ >= 0) close(fd_);
}

void File::Fail(const std::string& verb) const { FailPath(verb, name_, errno); }

void File::ReadAt(std::uint64_t offset, std::span<std::byte> to) const {
  while (!to.empty()) {
    const ssize_t got = pread(fd_, to.data(), std::min(to.size(), kChunk), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) Fail("read");
    if (got == 0) {
      throw FormatError(name_ + ": the file ends at byte " + std::to_string(offset) + ", " + std::to_string(to.size()) +
                        " bytes short; copy or write it again");
    }
    offset += static_cast<std::uint64_t>(got);
    to = to.subspan(static_cast<std::size_t>(got));
  }
}

void File::Write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t put = write(fd_, bytes.data(), std::min(bytes.size(), kChunk));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) Fail("write");
    bytes = bytes.subspan(static_cast<std::size_t>(put));
  }
}

void File::Sync() {
  if (fsync(fd_) != 0) Fail("sync");
}

}  // namespace sheaf::ml
