#include "worker/page_writer.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <new>

#include "base/futex.h"
#include "worker/segment_maker.h"

namespace sheaf {

PageWriter::~PageWriter() {
  if (page_) munmap(page_, kBytes);
}

bool PageWriter::Open(std::uint32_t slots, std::uint32_t cores) {
  int error = 0;
  Fd fd = MakeSegmentFd("sheaf-page", kBytes, &error);
  if (fd) reader_ = ReopenReadOnly(fd.get(), &error);
  void* at = reader_ ? mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0) : MAP_FAILED;
  if (at == MAP_FAILED) {
    errno = error ? error : errno;
    return false;
  }
  // Fresh memfd pages are zero, which is the initial state of every entry.
  page_ = static_cast<wire::ControlPage*>(at);
  page_->magic = wire::kPageMagic;
  page_->version = 1;
  page_->epoch = static_cast<std::uint64_t>(std::chrono::system_clock::now().time_since_epoch().count());
  page_->slots = slots;
  page_->cores = cores;
  page_->pool_pid = static_cast<std::uint32_t>(getpid());
  return SealForReaders(fd.get());
}

void PageWriter::Write(std::uint32_t client, wire::ClientState state) {
  wire::ClientEntry& entry = page_->clients[client & (limits::kClientsMax - 1)];
  if (state == wire::ClientState::kFree) {
    entry.state.store(state, std::memory_order_release);
    entry.client.store(0, std::memory_order_release);
    entry.pid.store(0, std::memory_order_relaxed);
  } else {
    entry.client.store(client, std::memory_order_release);
    entry.state.store(state, std::memory_order_release);
  }
  Ring(client);
}

void PageWriter::WritePid(std::uint32_t client, std::uint32_t pid) {
  page_->clients[client & (limits::kClientsMax - 1)].pid.store(pid, std::memory_order_release);
}

void PageWriter::Ring(std::uint32_t client) {
  wire::ClientEntry& entry = page_->clients[client & (limits::kClientsMax - 1)];
  entry.bell.fetch_add(1, std::memory_order_seq_cst);
  FutexWakeAll(entry.bell);
}

}  // namespace sheaf
