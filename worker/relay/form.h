// Stored forms, taken apart for the stream and put together again on the other side, without knowing their type.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>

#include "runtime/context.h"
#include "sheaf/detail/abi.h"
#include "worker/relay/fetcher.h"
#include "worker/relay/frame.h"
#include "worker/relay/offers.h"
#include "worker/relay/outgoing.h"
#include "worker/relay/stream.h"

namespace sheaf::relay {

// The name of an object that a payload speaks of; `ref` keeps it.
using NameRef = std::function<std::uint64_t(const detail::RefCore& ref)>;
// The object of that name; an empty ref: the name is unknown.
using RefOfName = std::function<detail::RefCore(std::uint64_t name)>;

// Whether WriteForm may have the blocks of `value` now; it never waits for them. With `offers`, what lies on a third machine is
// passed on as it was offered (docs/decisions/0012). kLater: ask again. kAway: without offers only, and its blocks begin to come.
enum class Blocks { kReady, kAway, kLater };
Blocks LookForBlocks(runtime::Context& context, const detail::Stored& value, Offers* offers);

// Appends the form of `value`. What it names is kept until the flush. A value whose memory is gone, or whose marks are damaged,
// becomes the error that says so. Returns how many bytes of payload and blocks that were. `offers`: for its
// large blocks; nullptr: everything goes in the stream. `gone`: set if its memory is.
std::uint64_t WriteForm(runtime::Context& context, const detail::Stored& value, const NameRef& name_ref, Outgoing* out,
                        Offers* offers = nullptr, bool* gone = nullptr);

// The form of a runtime error.
void WriteErrorForm(std::string_view kind, const std::string& message, Outgoing* out);

// A block that a form is read into. `to` nullptr: of an offered one, which stays where it is.
struct NewBlock {
  detail::Block block;
  std::byte* to = nullptr;
};
// Of the `index`-th block of the form; nothing: fresh memory. May throw.
using MakeBlock = std::function<std::optional<NewBlock>(std::uint32_t index, std::uint64_t bytes, bool offered)>;

enum class FormRead { kOk, kError, kOver, kHostile };  // kError: `to` is a stored error; kOver: the stream is over
// Reads a form of `bytes` bytes into fresh memory of this process. Where there is none, the rest is skipped and the
// outcome is an OutOfMemoryError. `offered`: blocks that have room here and are still to be fetched; nullptr: an offer is
// out of place.
FormRead ReadForm(Stream& from, std::uint64_t bytes, const RefOfName& ref_of, detail::Encoder* to, std::string* why,
                  std::vector<OfferedBlock>* offered = nullptr, const MakeBlock& make = {});

}  // namespace sheaf::relay
