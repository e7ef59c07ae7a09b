// Makes the memory that clients share: memfds, populated before anybody maps them, sealed once the writer has.
//
// Threads: everything here belongs to the pool's thread, except the populating of large segments, which one own
// thread does so that the pool's loop never waits for a million page faults. Populating with fallocate turns a lack
// of memory into ENOSPC here instead of SIGBUS in a client.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "base/fd.h"

namespace sheaf {

// Segments above this are populated on the side thread.
inline constexpr std::uint64_t kPopulateInlineMax = 8ull << 20;

// A memfd of `bytes` bytes with all pages present, or errno in *error. `name` shows up in /proc/PID/maps.
Fd MakeSegmentFd(const char* name, std::uint64_t bytes, int* error);
// The same file, opened again for reading only: what everybody but the writer gets.
Fd ReopenReadOnly(int fd, int* error);
// No new writable mapping, no write, no resizing, no further seals. Existing mappings keep what they may.
bool SealForReaders(int fd);

// One request at a time, in order, on one side thread that starts with the first request.
class SegmentMaker {
 public:
  SegmentMaker();
  ~SegmentMaker();
  SegmentMaker(const SegmentMaker&) = delete;
  SegmentMaker& operator=(const SegmentMaker&) = delete;

  struct Made {
    std::uint64_t ticket = 0;
    Fd fd;  // none: see error
    int error = 0;
  };
  void Request(std::uint64_t ticket, const char* name, std::uint64_t bytes);
  std::vector<Made> Take();                      // what is finished by now
  int ready_fd() const { return ready_.get(); }  // readable when Take has something

 private:
  struct Job {
    std::uint64_t ticket;
    const char* name;
    std::uint64_t bytes;
  };
  void Run();

  Fd ready_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;
  std::vector<Made> made_;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace sheaf
