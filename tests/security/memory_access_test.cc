// Nobody but its one writer can change a segment, whatever calls a process of the same user tries. Real segments of a
// real pool: a driver's published memory, a worker's control segment, the control page. One test for each way to write.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "object_store/segment_layout.h"
#include "tests/worker/test_client.h"

namespace sheaf::testing {
namespace {

using wire::Kind;
using wire::Role;
using wire::SegmentKind;

constexpr std::uint64_t kBytes = 1 << 20;

// Everything a reader was ever given, by name: descriptor and size.
struct Lent {
  const char* what;
  int fd;
  std::uint64_t bytes;
};

class MemoryAccess : public ::testing::Test {
 protected:
  MemoryAccess() : driver_(TestClient::Connect(pool_.path())) {
    EXPECT_TRUE(driver_.Attach(Role::kDriver));
    auto made = driver_.Make(SegmentKind::kLarge, kBytes);
    segment_ = made->As<wire::SegmentName>().segment;
    writer_fd_ = std::move(made->fds.at(0));
    own_ = static_cast<char*>(mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, writer_fd_.get(), 0));
    EXPECT_NE(own_, MAP_FAILED);
    std::memset(own_, 'a', kBytes);
    driver_.Mapped(segment_);
    object_ = std::move(driver_.Open(driver_.client(), segment_)->fds.at(0));
    driver_.Send(Kind::kWant, wire::Want{{}, 1, 1000});
    auto pair = driver_.Await(Kind::kOpenOut);
    worker_control_ = std::move(pair->fds.at(0));
    worker_ = pair->As<wire::OpenPair>().peer;
    lent_ = {{"object", object_.get(), kBytes},
             {"rings", worker_control_.get(), pair->As<wire::OpenPair>().peer_control_bytes},
             {"page", driver_.segment_fd(0), driver_.welcome().page_bytes}};
  }
  ~MemoryAccess() override {
    // Whatever was tried: what the writer wrote is what readers read, and the writer can still write.
    own_[5] = 'b';
    const char* view = static_cast<const char*>(mmap(nullptr, kBytes, PROT_READ, MAP_SHARED, object_.get(), 0));
    EXPECT_EQ(view[0], 'a');
    EXPECT_EQ(view[5], 'b');
    EXPECT_EQ(view[kBytes - 1], 'a');
    EXPECT_EQ(driver_.page().magic, wire::kPageMagic);
  }
  // Opens the same file again for writing, as any process of this user may: permissions do not stop it, the seals do.
  static Fd Reopen(int fd) { return Fd(open(("/proc/self/fd/" + std::to_string(fd)).c_str(), O_RDWR | O_CLOEXEC)); }

  PoolProcess pool_;
  TestClient driver_;
  Fd writer_fd_, object_, worker_control_;
  char* own_ = nullptr;
  std::uint32_t segment_ = 0, worker_ = 0;
  std::vector<Lent> lent_;
};

TEST_F(MemoryAccess, RefusesAWritableMappingOfALentDescriptor) {
  for (const Lent& lent : lent_) {
    EXPECT_EQ(mmap(nullptr, lent.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, lent.fd, 0), MAP_FAILED) << lent.what;
    EXPECT_EQ(errno, EACCES) << lent.what;
  }
}

TEST_F(MemoryAccess, RefusesToMakeAReadOnlyMappingWritable) {
  for (const Lent& lent : lent_) {
    void* at = mmap(nullptr, lent.bytes, PROT_READ, MAP_SHARED, lent.fd, 0);
    ASSERT_NE(at, MAP_FAILED) << lent.what;
    EXPECT_NE(mprotect(at, lent.bytes, PROT_READ | PROT_WRITE), 0) << lent.what;
    EXPECT_EQ(errno, EACCES) << lent.what;
  }
}

TEST_F(MemoryAccess, RefusesEveryWritingSystemCallOnALentDescriptor) {
  char byte = 'x';
  const iovec piece{&byte, 1};
  for (const Lent& lent : lent_) {
    EXPECT_LT(write(lent.fd, &byte, 1), 0) << lent.what;
    EXPECT_LT(pwrite(lent.fd, &byte, 1, 0), 0) << lent.what;
    EXPECT_LT(pwritev(lent.fd, &piece, 1, 0), 0) << lent.what;
    EXPECT_NE(ftruncate(lent.fd, 0), 0) << lent.what;
    EXPECT_NE(fallocate(lent.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), 0) << lent.what;
  }
}

TEST_F(MemoryAccess, RefusesToWriteThroughAReopenedDescriptor) {
  char byte = 'x';
  for (const Lent& lent : lent_) {
    const Fd again = Reopen(lent.fd);
    if (!again) continue;  // refused already: better still
    EXPECT_LT(pwrite(again.get(), &byte, 1, 0), 0) << lent.what;
    EXPECT_EQ(errno, EPERM) << lent.what;
    EXPECT_EQ(mmap(nullptr, lent.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, again.get(), 0), MAP_FAILED) << lent.what;
    EXPECT_EQ(errno, EPERM) << lent.what;
    EXPECT_EQ(mmap(nullptr, lent.bytes, PROT_WRITE, MAP_SHARED, again.get(), 0), MAP_FAILED) << lent.what;
  }
}

TEST_F(MemoryAccess, RefusesToMakeAMappingOfAReopenedDescriptorWritable) {
  for (const Lent& lent : lent_) {
    const Fd again = Reopen(lent.fd);
    if (!again) continue;
    // Before kernel 6.7 even this mapping is refused.
    void* at = mmap(nullptr, lent.bytes, PROT_READ, MAP_SHARED, again.get(), 0);
    if (at == MAP_FAILED) continue;
    EXPECT_NE(mprotect(at, lent.bytes, PROT_READ | PROT_WRITE), 0) << lent.what;
  }
}

TEST_F(MemoryAccess, RefusesToResizeThroughAReopenedDescriptor) {
  for (const Lent& lent : lent_) {
    const Fd again = Reopen(lent.fd);
    if (!again) continue;
    EXPECT_NE(ftruncate(again.get(), 4096), 0) << lent.what;
    EXPECT_EQ(errno, EPERM) << lent.what;
    EXPECT_NE(ftruncate(again.get(), static_cast<off_t>(lent.bytes * 2)), 0) << lent.what;
    EXPECT_NE(fallocate(again.get(), 0, static_cast<off_t>(lent.bytes), 4096), 0) << lent.what;
    struct stat info{};
    ASSERT_EQ(fstat(lent.fd, &info), 0);
    EXPECT_EQ(static_cast<std::uint64_t>(info.st_size), lent.bytes) << lent.what;
  }
}

TEST_F(MemoryAccess, RefusesToPunchHoles) {
  for (const Lent& lent : lent_) {
    const Fd again = Reopen(lent.fd);
    if (!again) continue;
    for (const int mode :
         {FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE, FALLOC_FL_COLLAPSE_RANGE}) {
      EXPECT_NE(fallocate(again.get(), mode, 0, 4096), 0) << lent.what << " " << mode;
    }
    void* at = mmap(nullptr, lent.bytes, PROT_READ, MAP_SHARED, lent.fd, 0);
    ASSERT_NE(at, MAP_FAILED);
    EXPECT_NE(madvise(at, 4096, MADV_REMOVE), 0) << lent.what;
  }
}

TEST_F(MemoryAccess, RefusesToOpenTheDescriptorsOfAnotherProcessForWriting) {
  // The worker's own descriptors, and the pool's, seen through /proc: the same files, the same seals.
  const std::uint32_t worker = driver_.page().clients[worker_ & (limits::kClientsMax - 1)].pid.load();
  int seen = 0;
  for (const pid_t pid : {static_cast<pid_t>(worker), pool_.pool()}) {
    for (int fd = 0; fd < 64; ++fd) {
      const std::string path = "/proc/" + std::to_string(pid) + "/fd/" + std::to_string(fd);
      char target[256] = {};
      if (readlink(path.c_str(), target, sizeof target - 1) <= 0 || !std::strstr(target, "memfd:sheaf-")) continue;
      const Fd again(open(path.c_str(), O_RDWR | O_CLOEXEC));
      if (!again) continue;
      const int seals = fcntl(again.get(), F_GET_SEALS);
      // What is not sealed yet is a spare that no client has: nothing of anybody lies in it.
      if ((seals & F_SEAL_FUTURE_WRITE) == 0) continue;
      ++seen;
      char byte = 'x';
      EXPECT_LT(pwrite(again.get(), &byte, 1, 0), 0) << target;
      EXPECT_EQ(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, again.get(), 0), MAP_FAILED) << target;
      EXPECT_NE(ftruncate(again.get(), 0), 0) << target;
    }
  }
  EXPECT_GE(seen, 4) << "the page, and control, slab and arena of somebody at least";
}

TEST_F(MemoryAccess, RefusesTheWritersOwnDescriptorOnceItHasPublished) {
  char byte = 'x';
  EXPECT_LT(pwrite(writer_fd_.get(), &byte, 1, 0), 0);
  EXPECT_EQ(mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, writer_fd_.get(), 0), MAP_FAILED);
  EXPECT_NE(ftruncate(writer_fd_.get(), 0), 0);
}

TEST_F(MemoryAccess, RefusesToLoosenOrAddSeals) {
  for (const Lent& lent : lent_) {
    const Fd again = Reopen(lent.fd);
    if (!again) continue;
    const int seals = fcntl(again.get(), F_GET_SEALS);
    EXPECT_EQ(seals, F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) << lent.what;
    // F_SEAL_WRITE would take the memory away from its writer.
    EXPECT_NE(fcntl(again.get(), F_ADD_SEALS, F_SEAL_WRITE), 0) << lent.what;
    EXPECT_EQ(errno, EPERM) << lent.what;
  }
}

TEST_F(MemoryAccess, RefusesToCopyIntoASegmentInsideTheKernel) {
  Fd source(memfd_create("source", MFD_CLOEXEC));
  ASSERT_EQ(ftruncate(source.get(), 4096), 0);
  for (const Lent& lent : lent_) {
    const Fd again = Reopen(lent.fd);
    const int to = again ? again.get() : lent.fd;
    off_t at = 0;
    EXPECT_LT(sendfile(to, source.get(), &at, 1), 0) << lent.what;
    EXPECT_LT(copy_file_range(source.get(), nullptr, to, nullptr, 1, 0), 0) << lent.what;
  }
}

TEST_F(MemoryAccess, WritesOfAPrivateMappingStayPrivate) {
  auto* at = static_cast<char*>(mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, object_.get(), 0));
  if (at == MAP_FAILED) return;  // some kernels refuse it: better still
  at[0] = 'x';
  const auto* view = static_cast<const char*>(mmap(nullptr, kBytes, PROT_READ, MAP_SHARED, object_.get(), 0));
  EXPECT_EQ(view[0], 'a');
}

}  // namespace
}  // namespace sheaf::testing

int main(int argc, char** argv) {
  int exit_code = 0;
  if (sheaf::testing::RunTestRole(argc, argv, &exit_code)) return exit_code;
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
