// The pool daemon's entry. One per machine (or per embedded driver): owns the shared memory, lends workers, buries
// the dead. Runs until its supervisor, a stop request or, embedded, its driver ends it.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "worker/pool_options.h"
#include "worker/pool_view.h"

namespace sheaf {

// Gets the pool's view when it is ready, and then at least once a second. Called on the pool's thread: must not block.
using ViewSink = std::function<void(const PoolView&)>;

// What the scheduler says, for the pool's thread: grants, and whose tickets are good. Implemented by the link.
class Neighbours {
 public:
  struct Granted {
    scheduler::GrantInfo grant;
    std::string ticket;
  };
  struct News {
    std::vector<Granted> grants;                   // all that the pool may hold
    std::vector<scheduler::LeaseWant> infeasible;  // what no pool has, as it was wanted when the scheduler was asked
    std::vector<std::uint64_t> voided;             // grants on this pool whose borrower was lost
    std::uint64_t epoch = 0;
    bool drain = false;   // hand over and end
    bool fenced = false;  // no word from the scheduler for too long: lend nothing any more
    struct Credit {
      std::uint64_t parked = 0;  // the grant that it follows
      Granted next;
    };
    std::vector<Credit> credits;          // all that the pool has
    std::int64_t credits_until = 0;       // by the machine's monotonic clock: then they are over, without another word
    std::vector<std::uint64_t> reported;  // grants that the pool said it holds, in what this answers
  };
  struct Admitted {
    scheduler::GrantInfo grant;
    std::string borrower;
  };
  virtual ~Neighbours() = default;
  virtual int fd() const = 0;  // readable when there is news
  virtual std::optional<News> Take() = 0;
  using HasRoom = std::function<bool(const scheduler::GrantInfo&)>;
  // Empty, or why the holder of the ticket is refused. Each ticket is good once; a credit only if there is room, else it stays as it is.
  virtual std::string Admit(const std::string& ticket, const HasRoom& has_room, Admitted* admitted) = 0;
  // Empty, or why the pool is without its cluster at the moment.
  virtual std::string Trouble() const = 0;
};

// Returns the process's exit code: 0 after an orderly stop, 1 when it could not start (the reason is on stderr).
// `on_view` feeds the link to a scheduler; without it the pool may sleep as long as it likes.
int RunPool(const PoolOptions& options, const ViewSink& on_view = nullptr, Neighbours* neighbours = nullptr);

}  // namespace sheaf
