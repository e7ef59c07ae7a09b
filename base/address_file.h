// Where daemons and clients of one user on one machine find each other.
//
// The runtime directory is $XDG_RUNTIME_DIR/sheaf, else $TMPDIR or /tmp + /sheaf-UID: mode 0700, owned by this user, no
// link. Daemons put their sockets there, and one `<kind>-<pid>.address` file each: the address, then a newline.
// Files appear whole (written beside, renamed), so that a reader never sees half an address.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sheaf {

// Makes the directory if it is absent. Empty on failure, with the reason in `error`.
std::string RuntimeDirectory(std::string* error);

// Writes `address` and a newline to `path`, atomically and readable by this user alone. False: see `error`.
bool WriteAddressFile(const std::string& path, std::string_view address, std::string* error);

// The first line of the file; empty if it cannot be read or holds more than 4096 bytes.
std::string ReadAddressFile(const std::string& path);

struct FoundAddress {
  std::string kind;  // "scheduler", "pool"
  std::uint32_t pid = 0;
  std::string address;
  std::string path;  // of the file
};

// The path under which a daemon of this kind announces itself.
std::string AnnouncedPath(const std::string& directory, std::string_view kind, std::uint32_t pid);

// What living daemons have announced in `directory`, by kind and pid. Files of dead ones are removed.
std::vector<FoundAddress> ListAnnounced(const std::string& directory);

}  // namespace sheaf
