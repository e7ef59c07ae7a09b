// A job's executable on its way: named by its hash, kept once per machine, never run before it was verified.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "base/fd.h"
#include "worker/relay/stream.h"

namespace sheaf::relay {

using Hash = std::array<std::uint8_t, 32>;  // SHA-256

// Of a regular file. What was hashed once and has the same inode, size and times is not read again: `directory`, where copies
// lie, remembers; empty: nothing is remembered.
bool HashFile(int fd, const std::string& directory, Hash* hash, std::uint64_t* bytes);
// Where copies lie: $SHEAF_CACHE, or .cache/sheaf/programs in the home directory; made with mode 0700. Empty: impossible.
std::string CopyDirectory();
// An open, executable copy of that hash; invalid: it is not here. One whose bytes have changed is removed.
Fd FindCopy(const std::string& directory, const Hash& hash);
// Takes `bytes` bytes off the stream into the directory. Invalid, with a reason, if they are not what the hash says.
Fd ReceiveCopy(Stream& from, std::uint64_t bytes, const std::string& directory, const Hash& hash, std::string* why);

}  // namespace sheaf::relay
