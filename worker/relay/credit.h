// A credit as a pool hands it to a parked near half: which grant, until when, and the ticket that the other pool is shown.
//
// It comes as kRenew does, and is told from a ticket by its first word. No ticket begins so.
#pragma once

#include <cstdint>
#include <optional>
#include <sstream>
#include <string>

namespace sheaf::relay {

struct Credit {
  std::uint64_t grant = 0;  // 0: there is none any more
  std::int64_t until = 0;   // by the machine's monotonic clock, in nanoseconds
  std::string ticket;
};

inline std::string CreditText(const Credit& credit) {
  return "credit " + std::to_string(credit.grant) + " " + std::to_string(credit.until) + "\n" + credit.ticket;
}

// nullopt: it is a ticket.
inline std::optional<Credit> CreditIn(const std::string& text) {
  std::istringstream in(text);
  std::string word;
  Credit credit;
  if (!(in >> word >> credit.grant >> credit.until) || word != "credit" || in.get() != '\n') return std::nullopt;
  std::getline(in, credit.ticket);
  return credit;
}

}  // namespace sheaf::relay
