// Memory is there before it is lent, and a lack of it is an error of the maker.
#include "worker/segment_maker.h"

#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>

namespace sheaf {
namespace {

std::vector<SegmentMaker::Made> AwaitMade(SegmentMaker& maker, std::size_t count) {
  std::vector<SegmentMaker::Made> all;
  while (all.size() < count) {
    pollfd wait{maker.ready_fd(), POLLIN, 0};
    if (poll(&wait, 1, 30'000) != 1) break;
    for (auto& made : maker.Take()) all.push_back(std::move(made));
  }
  return all;
}

TEST(SegmentMaker, PopulatesEveryPageBeforeTheFileIsLent) {
  int error = 0;
  const Fd fd = MakeSegmentFd("test", 1 << 20, &error);
  ASSERT_TRUE(fd) << error;
  struct stat info{};
  ASSERT_EQ(fstat(fd.get(), &info), 0);
  EXPECT_EQ(info.st_size, 1 << 20);
  EXPECT_EQ(info.st_blocks * 512, 1 << 20);
}

TEST(SegmentMaker, AnswersEveryRequestInOrderFromItsThread) {
  SegmentMaker maker;
  for (std::uint64_t ticket = 1; ticket <= 5; ++ticket) maker.Request(ticket, "test", ticket << 20);
  const auto made = AwaitMade(maker, 5);
  ASSERT_EQ(made.size(), 5u);
  for (std::uint64_t i = 0; i < 5; ++i) {
    EXPECT_EQ(made[i].ticket, i + 1);
    struct stat info{};
    ASSERT_EQ(fstat(made[i].fd.get(), &info), 0);
    EXPECT_EQ(static_cast<std::uint64_t>(info.st_blocks) * 512, (i + 1) << 20);
  }
}

TEST(SegmentMaker, ReportsWhatTheMachineCannotGive) {
  SegmentMaker maker;
  maker.Request(1, "test", std::uint64_t{1} << 63);  // no file is that long
  const auto made = AwaitMade(maker, 1);
  ASSERT_EQ(made.size(), 1u);
  EXPECT_FALSE(made[0].fd);
  EXPECT_NE(made[0].error, 0);
}

TEST(SegmentMaker, EndsWithRequestsWaiting) {
  SegmentMaker maker;
  for (std::uint64_t ticket = 1; ticket <= 20; ++ticket) maker.Request(ticket, "test", 64 << 20);
}

TEST(SegmentMaker, KeepsTheWritersMappingAndRefusesNewOnesOnceSealed) {
  int error = 0;
  const Fd fd = MakeSegmentFd("test", 4096, &error);
  auto* own = static_cast<char*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0));
  ASSERT_NE(own, MAP_FAILED);
  ASSERT_TRUE(SealForReaders(fd.get()));
  own[0] = 'a';
  EXPECT_EQ(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0), MAP_FAILED);
  EXPECT_EQ(errno, EPERM);
  const Fd reader = ReopenReadOnly(fd.get(), &error);
  ASSERT_TRUE(reader);
  const auto* view = static_cast<const char*>(mmap(nullptr, 4096, PROT_READ, MAP_SHARED, reader.get(), 0));
  ASSERT_NE(view, MAP_FAILED);
  EXPECT_EQ(view[0], 'a');
  own[0] = 'b';
  EXPECT_EQ(view[0], 'b');
}

}  // namespace
}  // namespace sheaf
