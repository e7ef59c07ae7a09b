// A job's executable on its way: named by its hash, kept once per machine, never run before it was verified.
#pragma once

#include <sys/stat.h>

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
// Where `directory` keeps the hash of that file; touched whenever it is read.
std::string NoteOf(const struct stat& info, const std::string& directory);
// Removes what was used longest ago until the copies take at most `most` bytes: nothing that was used within a day before `now` (Unix
// time), nothing that a job's libraries are links to. And notes unread for thirty days, drafts older than a day (program_prune.cc).
inline constexpr std::uint64_t kCopiesMax = std::uint64_t{16} << 30;
void PruneCopies(const std::string& directory, std::uint64_t most, std::int64_t now);
// Takes `bytes` bytes off the stream into the directory. Invalid, with a reason, if they are not what the hash says.
Fd ReceiveCopy(Stream& from, std::uint64_t bytes, const std::string& directory, const Hash& hash, std::string* why);

}  // namespace sheaf::relay
