#include "worker/relay/program_copy.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "base/hex.h"
#include "base/unix_time.h"

namespace sheaf::relay {
namespace {

class Digest {
 public:
  Digest() : state_(EVP_MD_CTX_new(), EVP_MD_CTX_free) { EVP_DigestInit_ex(state_.get(), EVP_sha256(), nullptr); }
  void Add(const void* bytes, std::size_t size) { EVP_DigestUpdate(state_.get(), bytes, size); }
  Hash Finish() {
    Hash hash{};
    unsigned size = hash.size();
    EVP_DigestFinal_ex(state_.get(), hash.data(), &size);
    return hash;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> state_;
};

bool MakeDirectories(const std::string& path) {
  for (std::size_t at = 1; at != std::string::npos;) {
    at = path.find('/', at + 1);
    const std::string part = path.substr(0, at);
    if (mkdir(part.c_str(), 0700) != 0 && errno != EEXIST) return false;
  }
  struct stat info{};
  // Programs that others could replace are not run.
  return stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode) && info.st_uid == geteuid() &&
         (info.st_mode & 0022) == 0;
}

bool ReadAndHash(int fd, Hash* hash, std::uint64_t* bytes) {
  Digest digest;
  std::vector<char> buffer(1 << 20);
  *bytes = 0;
  for (;;) {
    const ssize_t got = pread(fd, buffer.data(), buffer.size(), static_cast<off_t>(*bytes));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return false;
    if (got == 0) break;
    digest.Add(buffer.data(), static_cast<std::size_t>(got));
    *bytes += static_cast<std::uint64_t>(got);
  }
  *hash = digest.Finish();
  return true;
}

bool ReadNote(const std::string& note, Hash* hash) {
  const Fd file(open(note.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  Hash read{};
  if (!file || ::read(file.get(), read.data(), read.size()) != static_cast<ssize_t>(read.size())) return false;
  *hash = read;
  futimens(file.get(), nullptr);  // when it was used last
  return true;
}

void WriteNote(const std::string& note, const Hash& hash) {
  const std::string draft = note + ".part-" + std::to_string(getpid());
  const Fd file(open(draft.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!file) return;
  const bool written = write(file.get(), hash.data(), hash.size()) == static_cast<ssize_t>(hash.size());
  if (!written || rename(draft.c_str(), note.c_str()) != 0) unlink(draft.c_str());
}

}  // namespace

// Changes with every write to the file: its change time cannot be set.
std::string NoteOf(const struct stat& info, const std::string& directory) {
  std::string name = directory + "/hash";
  for (const std::int64_t part :
       {static_cast<std::int64_t>(info.st_dev), static_cast<std::int64_t>(info.st_ino), std::int64_t{info.st_size},
        std::int64_t{info.st_mtim.tv_sec}, std::int64_t{info.st_mtim.tv_nsec}, std::int64_t{info.st_ctim.tv_sec},
        std::int64_t{info.st_ctim.tv_nsec}})
    name += "-" + std::to_string(part);
  return name;
}

bool HashFile(int fd, const std::string& directory, Hash* hash, std::uint64_t* bytes) {
  struct stat info{};
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) return false;
  // Two writes within one tick of the file system's clock look like one: what is so young is not remembered.
  constexpr std::int64_t kOldEnough = 2;
  const bool old = UnixSeconds() - info.st_ctim.tv_sec >= kOldEnough;
  const std::string note = directory.empty() || !old ? std::string() : NoteOf(info, directory);
  *bytes = static_cast<std::uint64_t>(info.st_size);
  if (!note.empty() && ReadNote(note, hash)) return true;
  if (!ReadAndHash(fd, hash, bytes)) return false;
  if (!note.empty()) WriteNote(note, *hash);
  return true;
}

std::string CopyDirectory() {
  std::string path;
  if (const char* given = std::getenv("SHEAF_CACHE"); given && given[0] == '/') {
    path = given;
  } else if (const char* home = std::getenv("HOME"); home && home[0] == '/') {
    path = std::string(home) + "/.cache/sheaf/programs";
  } else {
    path = "/tmp/sheaf-programs-" + std::to_string(geteuid());
  }
  return MakeDirectories(path) ? path : std::string();
}

Fd FindCopy(const std::string& directory, const Hash& hash) {
  const std::string path = directory + "/" + HexOf(hash.data(), hash.size());
  Fd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!file) return file;
  Hash found{};
  std::uint64_t bytes = 0;
  if (HashFile(file.get(), directory, &found, &bytes) && found == hash) return file;
  unlink(path.c_str());
  return Fd();
}

Fd ReceiveCopy(Stream& from, std::uint64_t bytes, const std::string& directory, const Hash& hash, std::string* why) {
  const std::string path = directory + "/" + HexOf(hash.data(), hash.size()),
                    draft = path + ".part-" + std::to_string(getpid());
  Fd file(open(draft.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!file) {
    *why = "cannot write " + draft + ": " + std::strerror(errno);
    return Fd();
  }
  Digest digest;
  std::vector<std::byte> buffer(256 * 1024);
  for (std::uint64_t left = bytes; left > 0 && why->empty();) {
    const std::size_t some = std::min<std::uint64_t>(left, buffer.size());
    if (!from.Read(buffer.data(), some)) *why = "it was cut off";
    digest.Add(buffer.data(), some);
    if (why->empty() && write(file.get(), buffer.data(), some) != static_cast<ssize_t>(some))
      *why = "cannot write " + draft + ": " + std::strerror(errno);
    left -= some;
  }
  if (why->empty() && digest.Finish() != hash) *why = "it is not the one that was announced";
  if (why->empty() && (fchmod(file.get(), 0500) != 0 || rename(draft.c_str(), path.c_str()) != 0))
    *why = "cannot keep " + path + ": " + std::strerror(errno);
  if (!why->empty()) {
    unlink(draft.c_str());
    return Fd();
  }
  file.Reset();  // a file open for writing cannot be run
  return Fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
}

}  // namespace sheaf::relay
