// The scheduler's door: gRPC on one local address, in front of a SchedulerLoop.
//
// Handlers copy the request, enqueue it and return; the loop's thread finishes the call. No handler decides or waits.
#pragma once

#include <memory>
#include <string>

#include "scheduler/listen_address.h"
#include "scheduler/pki.h"
#include "scheduler/scheduler_loop.h"

namespace sheaf::scheduler {

// What a scheduler has that other machines can reach.
struct Security {
  std::string cluster;
  Authority authority;
  Credentials own;
  std::string tokens;  // directory of the tokens that let machines join
  std::int64_t certificate_seconds = 86'400;
};

class SchedulerService {
 public:
  // Opens the address and serves `loop`, which must outlive the service and may start to run later. nullptr, with
  // a reason, when somebody else listens there or the system refuses. Port 0: see address(). With `security`, which must
  // outlive the service, callers need certificates; without it only local addresses are opened.
  static std::unique_ptr<SchedulerService> Open(const ListenAddress& listen, SchedulerLoop* loop, std::string* reason,
                                                const Security* security = nullptr);
  virtual ~SchedulerService() = default;

  // What clients connect to; names the port that was chosen.
  virtual std::string address() const = 0;
  // Stops to accept, gives open calls a second, removes the socket. After the loop has ended.
  virtual void Close() = 0;
};

}  // namespace sheaf::scheduler
