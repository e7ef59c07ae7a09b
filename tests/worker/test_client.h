// A client of a pool that speaks the protocol byte by byte: drivers, fake workers and attackers in tests.
#pragma once

#include <sys/types.h>

#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/packet_socket.h"
#include "proto/control_page.h"
#include "proto/local_wire.h"
#include "worker/pool_messages.h"

namespace sheaf::testing {

// A received message. `As` aborts the test process when it is shorter than T.
struct Received {
  std::vector<std::byte> bytes;
  std::vector<Fd> fds;
  wire::Kind kind() const;
  template <typename T>
  T As() const {
    T message;
    if (bytes.size() < sizeof message) __builtin_trap();
    std::memcpy(&message, bytes.data(), sizeof message);
    return message;
  }
  template <typename T>
  std::string Tail() const {
    return {reinterpret_cast<const char*>(bytes.data()) + sizeof(T), bytes.size() - sizeof(T)};
  }
};

class TestClient {
 public:
  explicit TestClient(Fd socket) : socket_(std::move(socket)) {}
  static TestClient Connect(const std::string& path);

  bool SendRaw(std::span<const std::byte> bytes, std::span<const int> fds = {}) {
    return SendPacket(socket_.get(), bytes, fds, true) == PacketResult::kOk;
  }
  template <typename T>
  bool Send(wire::Kind kind, T message, std::uint64_t request = 0, std::span<const std::byte> tail = {},
            std::span<const int> fds = {}) {
    message.header = {kind, static_cast<std::uint32_t>(sizeof message + tail.size()), request};
    std::vector<std::byte> bytes(sizeof message);
    std::memcpy(bytes.data(), &message, sizeof message);
    bytes.insert(bytes.end(), tail.begin(), tail.end());
    return SendRaw(bytes, fds);
  }
  // The next message; none when the pool has closed the connection or nothing came for ten seconds.
  std::optional<Received> Next();
  // The next message of this kind; those before it are dropped.
  std::optional<Received> Await(wire::Kind kind);
  bool AwaitClosed();  // reads whatever comes until the connection ends

  // Attaches; `role` arguments become the workers' argv. On success client(), page() are set, and kAttached was said.
  std::optional<Received> Attach(wire::Role role, std::uint32_t spawn = 0, std::vector<std::string> arguments = {},
                                 const std::uint64_t* build = nullptr, pid_t pid = 0);
  std::optional<Received> Make(wire::SegmentKind kind, std::uint64_t bytes, std::uint64_t request = 77);
  std::optional<Received> Open(std::uint32_t client, std::uint32_t segment, std::uint64_t request = 78);
  void Mapped(std::uint32_t segment);

  const wire::Welcome& welcome() const { return welcome_; }
  std::uint32_t client() const { return welcome_.client; }
  const wire::ControlPage& page() const { return *page_; }
  int segment_fd(int which) const { return segments_[which].get(); }  // 0 page, 1 control, 2 slab, 3 arena
  int fd() const { return socket_.get(); }
  void Close() { socket_.Reset(); }

 private:
  std::optional<Received> Answer(std::uint64_t request);  // what came before it is dropped

  Fd socket_;
  wire::Welcome welcome_{};
  const wire::ControlPage* page_ = nullptr;
  std::vector<Fd> segments_;
};

// A pool with its supervisor, in processes of their own, listening in a private directory. The test binary itself is
// the executable: its main hands internal roles to RunTestRole.
class PoolProcess {
 public:
  struct Options {
    int slots = 2;
    std::uint64_t store_bytes = 512ull << 20;
    int drain_ms = 2000;
    std::vector<std::string> environment = {};  // NAME=value, for failpoints
  };
  explicit PoolProcess(const Options& options);
  PoolProcess() : PoolProcess(Options{}) {}
  ~PoolProcess();
  const std::string& path() const { return path_; }
  pid_t supervisor() const { return supervisor_; }
  pid_t pool();          // asks for its status
  int Stop(int signal);  // sends it to the supervisor and returns its exit code, or 128 + the signal that ended it
  int AwaitExit();

 private:
  std::string directory_, path_;
  pid_t supervisor_ = 0;
};

// Runs the role that this process was started for (pool, fake worker). False: none, go on with the tests.
bool RunTestRole(int argc, char** argv, int* exit_code);

std::string StatusOf(const std::string& path);  // the pool's JSON; empty: no answer
// Polls until `f` holds, for ten seconds at most.
bool Eventually(bool (*f)(void*), void* argument);
template <typename F>
bool Eventually(F f) {
  return Eventually([](void* at) { return (*static_cast<F*>(at))(); }, &f);
}
bool ProcessExists(pid_t pid);  // a zombie does not count

}  // namespace sheaf::testing
