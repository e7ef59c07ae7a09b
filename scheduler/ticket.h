// The right to use a grant: what the scheduler gives the borrower, and the lender checks without asking anybody.
//
// A line of words and an HMAC-SHA256 over them, with a key that only the scheduler and that life of the lender know (the
// lender gets it when it registers). It names everything that it allows: nothing can be changed, moved to another job or
// pool, or used in another epoch. A secret: never in arguments, logs or errors. Single use; the lender remembers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sheaf::scheduler {

struct Ticket {
  std::string cluster, lender, borrower;
  std::uint64_t epoch = 0, grant = 0, lender_incarnation = 0, job = 0;
  std::uint32_t slots = 0, cpus_milli = 0;
  std::int64_t expires = 0;  // Unix time in seconds
  bool credit = false;       // given in advance: good only while the lender has room
  friend bool operator==(const Ticket&, const Ticket&) = default;
};

// 32 random bytes; throws std::runtime_error if the system has none.
std::string NewSecret();
// The key of one life of one pool.
std::string LenderKey(std::string_view secret, std::string_view pool, std::uint64_t incarnation);
std::string SignTicket(std::string_view key, const Ticket& ticket);
// nullopt, with a reason that gives nothing away, unless the key has signed exactly this.
std::optional<Ticket> OpenTicket(std::string_view key, std::string_view text, std::string* why);

}  // namespace sheaf::scheduler
