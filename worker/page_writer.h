// The pool's side of the control page: makes it, is its only writer, rings its bells.
#pragma once

#include <cstdint>

#include "base/fd.h"
#include "proto/control_page.h"

namespace sheaf {

class PageWriter {
 public:
  PageWriter() = default;
  ~PageWriter();
  PageWriter(const PageWriter&) = delete;
  PageWriter& operator=(const PageWriter&) = delete;

  bool Open(std::uint32_t slots, std::uint32_t cores);  // false: errno says why
  // Shows `client` in `state`, and wakes whoever sleeps on its bell, since the sight may be what they wait for.
  void Write(std::uint32_t client, wire::ClientState state);
  void WritePid(std::uint32_t client, std::uint32_t pid);
  // A message waits on this client's socket.
  void Ring(std::uint32_t client);

  int reader_fd() const { return reader_.get(); }  // read-only, for clients
  const wire::ControlPage* page() const { return page_; }
  static constexpr std::uint64_t kBytes = (sizeof(wire::ControlPage) + 4095) / 4096 * 4096;

 private:
  Fd reader_;
  wire::ControlPage* page_ = nullptr;
};

}  // namespace sheaf
