#include "worker/segment_maker.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>

#include "base/check.h"
#include "base/failpoint.h"

namespace sheaf {
namespace {

Fd CreateEmpty(const char* name, std::uint64_t bytes, int* error) {
  Fd fd(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd || ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0) {
    *error = errno;
    return {};
  }
  return fd;
}

// A signal (or a stop) may interrupt fallocate; what it has done so far stays done.
int Populate(int fd, std::uint64_t offset, std::uint64_t bytes) {
  if (const int error = SHEAF_FAILPOINT("pool.segment.populate")) return error;
  while (fallocate(fd, 0, static_cast<off_t>(offset), static_cast<off_t>(bytes)) != 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

}  // namespace

Fd MakeSegmentFd(const char* name, std::uint64_t bytes, int* error) {
  Fd fd = CreateEmpty(name, bytes, error);
  if (!fd) return {};
  *error = Populate(fd.get(), 0, bytes);
  if (*error) return {};
  return fd;
}

Fd ReopenReadOnly(int fd, int* error) {
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  Fd opened(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  *error = opened ? 0 : errno;
  return opened;
}

bool SealForReaders(int fd) {
  return fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0;
}

SegmentMaker::SegmentMaker() : ready_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) { SHEAF_CHECK(ready_); }

SegmentMaker::~SegmentMaker() {
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
    jobs_.clear();
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void SegmentMaker::Request(std::uint64_t ticket, const char* name, std::uint64_t bytes) {
  {
    std::lock_guard lock(mutex_);
    jobs_.push_back({ticket, name, bytes});
  }
  if (!thread_.joinable()) {
    // Signals belong to the pool's thread.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    thread_ = std::thread([this] { Run(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
  changed_.notify_all();
}

std::vector<SegmentMaker::Made> SegmentMaker::Take() {
  std::uint64_t count;
  (void)!read(ready_.get(), &count, sizeof count);
  std::lock_guard lock(mutex_);
  return std::exchange(made_, {});
}

void SegmentMaker::Run() {
  pthread_setname_np(pthread_self(), "sheaf-populate");
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return ending_ || !jobs_.empty(); });
    if (ending_) return;
    const Job job = jobs_.front();
    jobs_.pop_front();
    lock.unlock();
    Made made{job.ticket, {}, 0};
    made.fd = CreateEmpty(job.name, job.bytes, &made.error);
    // In pieces, so that the end of the pool does not wait for a terabyte.
    constexpr std::uint64_t kPiece = 64ull << 20;
    for (std::uint64_t at = 0; made.fd && at < job.bytes; at += kPiece) {
      made.error = Populate(made.fd.get(), at, std::min(kPiece, job.bytes - at));
      if (made.error) made.fd.Reset();
      std::lock_guard ending(mutex_);
      if (ending_) return;
    }
    lock.lock();
    made_.push_back(std::move(made));
    const std::uint64_t one = 1;
    (void)!write(ready_.get(), &one, sizeof one);
  }
}

}  // namespace sheaf
