// How the halves of a relay come to terms before it stands: by which right, for which program, with what beside it.
//
// Whoever cannot go on ends its process: a relay that does not stand is nobody's loss, and its pool tries again.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "runtime/program.h"
#include "worker/relay/parts.h"
#include "worker/relay/stream.h"
#include "worker/relay/twin_place.h"

namespace sheaf::relay {

inline constexpr int kExitNoStream = 73;  // of a half that found nobody to talk to
[[noreturn]] void Fail(const std::string& why);
[[noreturn]] void RefuseAndEnd(Stream& stream, const std::string& why);  // the far half, and the near one is told

std::string ReadText(Stream& stream, const Head& head);  // of the frame that was announced by `head`
Head ReadHead(Stream& stream, bool near);                // `near`: it comes from the near half
void SendFrame(Stream& stream, Kind kind, std::uint64_t number, std::string_view body);

// ---- near: this process has the job's directory and environment, and its executable as kRelayFd

struct Parcel {
  Hello hello{};
  std::string description;
  std::vector<TravelPart> parts;
  std::vector<SoftLimit> limits;
};
Parcel Pack(const std::string& identity, const std::vector<std::string>& arguments);
struct Host {
  std::string name;
  std::uint64_t store_bytes = 0;  // of its pool
  std::string pool{};             // that pool's name in the cluster
};
// The other machine, once the job's twin stands there.
Host Greet(Stream& stream, const std::string& ticket, Parcel parcel);

// ---- far

// Pings for as long as it exists: to verify and to copy may take longer than a peer may be silent.
class KeepAwake {
 public:
  explicit KeepAwake(Stream& stream);
  ~KeepAwake();

 private:
  std::mutex mutex_;
  std::condition_variable over_;
  bool is_over_ = false;
  std::thread thread_;
};

struct Guest {
  runtime::ForeignProgram program;  // without descriptors of its output
  Fd executable;
  std::string needs;  // of each task, besides CPUs (base/needs.h)
  std::unique_ptr<TwinPlace> place;
  std::unique_ptr<KeepAwake> awake;
};
// `peer`: the other pool's id, as its certificate says; empty in the clear.
Guest Receive(Stream& stream, const std::string& peer);

}  // namespace sheaf::relay
