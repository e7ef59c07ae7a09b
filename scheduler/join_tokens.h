// Tokens by which machines join: short-lived, for one join each, made by whoever may write the scheduler's state directory.
//
// A token is ID.SECRET. The directory holds, under the id, only the secret's hash and the end of its life; a token is used
// by removing that file, so that it is used once, whoever comes second, and also across a restart.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace sheaf::scheduler {

// What a machine is given: where the scheduler is, by what it is recognised, and the token. Text, for a file of mode 0600.
struct Invitation {
  std::string address, token, authority;
};
std::string FormatInvitation(const Invitation& invitation);
// False, with a reason: not such a text, or its certificate is not the one of its fingerprint.
bool ParseInvitation(std::string_view text, Invitation* invitation, std::string* why);

// Empty, with a reason, if the directory cannot be written.
std::string NewToken(const std::string& directory, std::int64_t now, std::int64_t seconds, std::string* why);
// Empty, or why the token is refused. Good once.
std::string UseToken(const std::string& directory, std::string_view token, std::int64_t now);

}  // namespace sheaf::scheduler
