// The near half of a relay: to its pool a worker with many places, which sends what it claims to another pool.
//
// It claims no more than runs there at once, or is short: what waits in a lane can still go elsewhere, what is away cannot.
// It claims an entry once every input has a value here or a name there, so what is away never waits for what is still in a
// lane. Values go along with the first task that needs them and stay there, named, for the next ones.
//
// Threads: the executor's loop claims and sends; the reader takes results off the stream and publishes them at once, the
// fetcher those that came beside it (near_reader.cc); the helper talks to the pool. `turn_` makes them one writer; nobody
// holds it while it writes to the stream. A stream that breaks ends the process: its pool buries a dead worker, and the
// submitters run again what it had claimed.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "worker/executor.h"
#include "worker/relay/away_values.h"
#include "worker/relay/credit.h"
#include "worker/relay/form.h"
#include "worker/relay/greeting.h"
#include "worker/relay/names.h"

namespace sheaf::relay {

inline constexpr int kExitStreamOver = 72;

class NearHalf final : public worker::Executor {
 public:
  // `host`: the other machine; its name stands before what its workers print. `cpus_milli`: what the grant counts for each task.
  // `places`: how many tasks the grant lets run at once. `desk`, `pki`: for values that travel beside the stream.
  NearHalf(runtime::Context& context, Stream& stream, const Host& host, std::uint32_t cpus_milli, std::uint32_t places,
           TransferDesk& desk, std::string pki);

  void ReadLoop();  // the reader's thread; ends the process when the stream is over
  void Farewell();  // after Run: what the workers over there have written is written here

 private:
  using Name = Names::Name;
  struct Away {
    worker::InPair* pair = nullptr;
    int lane = 0;
    std::uint32_t position = 0;
    runtime::IncomingRoot* incoming = nullptr;
    std::uint32_t function = 0;
    std::int64_t cost = 0;
    bool retries = false;  // it could be run again
  };
  struct Input {  // of the task in hand
    Name name = 0;
    detail::ObjectId id;
    detail::Stored value;  // to be sent, if it has no name yet
    PushInput as;
  };

  bool CanForward(const Task& task) override;
  bool Forward(const Task& task) override;
  void ForwardStart(const wire::StartCall& call, const detail::Stored& arguments) override;
  void Park(bool gently) override;
  void Renew(std::string ticket) override;
  void Wanted(std::uint32_t segment) override { stays_.Fetch(segment); }
  std::uint32_t Arrived() override;
  void Rest() override;
  bool AwaitsObjects() override { return !unsent_.empty() || !late_.empty(); }
  bool MayEnd() override;

  bool ForwardInTurn(const Task& task);

  enum class Look { kWaits, kReady, kDamaged };
  Look LookAtInputs(const Task& task, runtime::IncomingRoot* incoming, std::vector<Input>* inputs,
                    detail::Stored* arguments);
  bool LookAtInput(const store::DependencyRecord& named, runtime::IncomingRoot* incoming, Input* input);
  void Drop(runtime::IncomingRoot* incoming);
  Name NameRefOf(const detail::RefCore& ref);
  detail::RefCore RefOfName(Name name, Name of_task);
  void SendReadyObjects();
  void Housekeeping(std::int64_t now);
  void ReadFrame();                  // reading_ held
  bool HasInputs(const Task& task);  // turn_ held
  bool MayForward();                 // parked
  bool HasRoom(const Task& task);    // turn_ held
  bool GivesBack(const Task& task);
  void ParkIfIdle();
  void AskOrBegin();
  bool CreditTaken(std::uint64_t credit);
  void CreditRefused(std::uint64_t credit);
  void Wake();
  void SendAgain();
  void Answer(Kind kind, Name name);
  bool TakeDone(const Head& head);
  bool TakeDoneAgain(const Head& head);
  bool MayStay(Name name);
  void Finish(Name name, std::uint64_t took_nanos, std::uint64_t bytes, detail::Encoder& value, bool error, bool stays);
  void FinishInTurn(Name name, std::uint64_t took_nanos, bool error, Outcome& outcome);
  bool TakeValue(const Head& head);
  void Keep(Name name, std::uint64_t bytes, detail::Encoder& value, bool error);
  void Fetch(Name name, FetchClass wanted, std::vector<OfferedBlock> blocks, std::function<void()> then);
  void TakeFetched(Name name);
  bool TakeForgotten(const Head& head);
  bool TakeOutput(const Head& head);
  [[noreturn]] void End(const std::string& why);

  Stream& stream_;
  const std::string machine_, pool_;
  const std::uint32_t cpus_milli_, places_;
  Names names_;
  Outgoing out_;
  Offers offers_;
  Fetcher fetcher_;
  AwayValues stays_;                                 // results that lie there until somebody reads them
  std::vector<std::pair<Name, Offers::Kept>> late_;  // could not be fetched: sent again once their blocks are here
  std::unordered_set<Name> offered_again_;
  std::vector<Input> inputs_;
  std::vector<std::pair<Name, detail::RefCore>> unsent_;  // named, and their values still to come
  std::unordered_set<Name> unsent_names_;
  std::int64_t swept_ = 0;
  std::atomic<bool> park_asked_{false}, gently_asked_{false},
      parked_{false};                       // parked: without a grant, claims nothing
  bool asked_ = false;                      // told the pool that tasks wait, or the other half
  std::mutex parking_;                      // the next three
  Credit credit_;                           // to go on by, without a question
  std::uint64_t shown_ = 0;                 // a credit that the other half has not answered yet
  std::string ticket_;                      // came in the meantime
  std::atomic<std::uint64_t> begun_{0};     // by this credit; the pool is still to be told
  std::mutex reading_;                      // whoever reads the stream
  std::atomic<std::uint32_t> farewell_{0};  // 1: said; 2: answered
  // While few tasks are away the executor's loop reads itself: it is awake, and the reader would have to wake up.
  std::atomic<std::uint32_t> loop_reads_{0};
  std::mutex turn_;  // everything of Executor's that both threads touch, and:
  std::unordered_map<Name, Away> away_;
  std::vector<Name> again_;                                // to be sent in the stream
  std::unordered_map<std::uint32_t, std::int64_t> costs_;  // nanoseconds of one run, by function
  std::int64_t load_ = 0;                                  // of what is away
  bool moves_ = true;                                      // a result has come since the last look
  std::int64_t silent_since_ = 0;                          // from that look on
  bool waits_for_room_ = false;                            // the loop is about to sleep, with tasks in its lanes
  std::uint32_t waiting_ = 0;                              // over there, inside Get: each makes room for another
};

}  // namespace sheaf::relay
