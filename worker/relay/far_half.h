// The far half of a relay: to its pool the driver of a job's twin, which submits what comes from another pool and sends back
// what becomes ready.
//
// Threads: the reader takes frames off the stream, submits, and looks for a moment whether a result comes at once; the
// fetcher brings values that travel beside the stream; Run's thread waits for the other results and sends them. `send_`
// belongs to whoever of the two looks for results. The output thread forwards what the workers print; the helper talks to
// the pool. A stream that breaks ends the process: its pool buries a dead driver with its job.
#pragma once

#include <atomic>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "base/fd.h"
#include "runtime/context.h"
#include "worker/relay/form.h"
#include "worker/relay/names.h"
#include "worker/relay/twin_place.h"

namespace sheaf::relay {

class FarHalf {
 public:
  // `peer`: the other pool's id, as its certificate says; empty in the clear. `needs`: of each task, besides CPUs. `place` is
  // removed at the end.
  FarHalf(runtime::Context& context, Stream& stream, TransferDesk& desk, std::string pki, std::string peer,
          std::string needs, TwinPlace& place);

  void ReadLoop();                    // the reader's thread; ends the process when the stream is over
  void OutputLoop(int out, int err);  // descriptors of pipes that the workers write to
  int Run();                          // until the pool is lost

 private:
  using Name = Names::Name;
  [[noreturn]] void End(const std::string& why);
  bool TakePush(const Head& head);
  bool TakeValue(const Head& head);
  void Keep(Name name, detail::Encoder& value, bool error);
  void Answer(Kind kind, Name name);
  bool TakeStart(const Head& head);
  bool TakeForget(const Head& head);
  bool TakeRenew(const Head& head);
  detail::RefCore RefOfName(Name name);
  Name NameRefOf(const detail::RefCore& ref);
  void Await(Name name, const detail::RefCore& ref, std::uint32_t function);  // it is sent when it is ready
  void Refuse(Name name, std::string_view kind, const std::string& message, std::uint32_t function);
  void EndIfPoolIsGone(std::string_view error);
  bool SendResult(Name name, std::uint64_t took_nanos, Offers* offers);
  std::uint32_t SendReady();  // send_ held
  void ServeForAMoment(std::int64_t nanos);
  bool WorkersAreAsleep();

  runtime::Context& context_;
  Stream& stream_;
  const std::string peer_, needs_;
  TwinPlace& place_;
  bool parked_ = false;  // the reader's: without a grant, nothing is submitted
  bool cold_ = false;    // the reader's: it goes on, and no task has come yet
  Names names_;
  std::mutex send_;
  Offers offers_;
  Fetcher fetcher_;
  Outgoing out_;                                           // with send_, as the next
  std::vector<std::pair<Name, detail::RefCore>> foreign_;  // of our workers: looked at in turn
  std::mutex ready_mutex_;
  struct Ready {
    Name name;
    std::uint32_t function;  // of a task
    std::uint64_t took_nanos;
  };
  std::vector<Ready> ready_;
  struct Late {
    Name name;
    std::uint64_t took_nanos;
    bool again;
  };
  std::vector<Late> late_;  // with send_: ready, and with blocks that lie elsewhere and could not be had yet
  std::vector<Name> forgotten_;
  std::vector<Name> again_;                            // to be sent in the stream
  std::vector<std::pair<Name, std::string>> refused_;  // could not be submitted: stored errors
  std::uint32_t told_waiting_ = 0;                     // with send_, as the next
  std::int64_t asked_ = 0;                             // when it was last made sure that the pool is there
  const Fd last_;                                      // an event: the other half ends, and wants what is in the pipes
  std::atomic<bool> has_ready_{false}, has_foreign_{false}, asleep_{false};
};

}  // namespace sheaf::relay
