// One block's way here: asks the directory for a holder, reads ranges from it over several streams, and asks for another
// holder when one fails. docs/decisions/0009.
#pragma once

#include <cstddef>
#include <functional>
#include <string>

#include "worker/relay/transfer_frame.h"

namespace sheaf::relay {

struct FetchOptions {
  std::string pki;           // empty: in the clear
  std::string own_address;   // of this machine's server; empty: what is fetched is served to nobody
  unsigned streams = 2;      // for large blocks
  std::uint64_t member = 0;  // what this fetcher calls itself, as in its offer; not 0
  // A holder that has more, and gives less than a mebibyte in this time, is given up, unless it is the first.
  std::int64_t slow_nanos = 5'000'000'000;
};

// Writes the offered bytes to `to`. Calls `progress` with how many bytes from the start are there, from several threads, one at a
// time, never with less than before. Blocks; false, with a reason, when no holder gave all of it.
bool FetchBlock(const BlockOffer& offer, std::byte* to, const FetchOptions& options,
                const std::function<void(std::uint64_t ready)>& progress, std::string* why);

}  // namespace sheaf::relay
