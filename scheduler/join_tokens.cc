#include "scheduler/join_tokens.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <sstream>

#include "base/hex.h"
#include "scheduler/pki.h"

namespace sheaf::scheduler {
namespace {

constexpr std::string_view kFirstLine = "sheaf-invitation 1";
constexpr std::size_t kIdChars = 16, kSecretChars = 48;

std::string HashOf(std::string_view secret) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  EVP_Digest(secret.data(), secret.size(), digest, &size, EVP_sha256(), nullptr);
  return HexOf(digest, size);
}

bool IsHex(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

}  // namespace

std::string FormatInvitation(const Invitation& invitation) {
  return std::string(kFirstLine) + "\naddress " + invitation.address + "\ntoken " + invitation.token + "\nca-sha256 " +
         Fingerprint(invitation.authority) + "\n" + invitation.authority;
}

bool ParseInvitation(std::string_view text, Invitation* invitation, std::string* why) {
  std::istringstream in{std::string(text)};
  std::string first, name, fingerprint;
  std::getline(in, first);
  in >> name >> invitation->address;
  const bool has_address = name == "address";
  in >> name >> invitation->token;
  const bool has_token = name == "token";
  in >> name >> fingerprint >> std::ws;
  invitation->authority.assign(std::istreambuf_iterator<char>(in), {});
  if (first != kFirstLine || !has_address || !has_token || name != "ca-sha256") {
    *why = "this is no invitation; make one beside the scheduler with: sheaf token create";
    return false;
  }
  if (fingerprint.empty() || Fingerprint(invitation->authority) != fingerprint) {
    *why = "the invitation's certificate is not the one of its fingerprint: it was changed on the way";
    return false;
  }
  return true;
}

std::string NewToken(const std::string& directory, std::int64_t now, std::int64_t seconds, std::string* why) {
  if (!MakePrivateDirectory(directory, why)) return {};
  unsigned char random[(kIdChars + kSecretChars) / 2];
  if (RAND_bytes(random, sizeof random) != 1) {
    *why = "the system has no random bytes";
    return {};
  }
  const std::string id = HexOf(random, kIdChars / 2), secret = HexOf(random + kIdChars / 2, kSecretChars / 2);
  *why = WriteFile(directory + "/" + id, "join " + HashOf(secret) + " " + std::to_string(now + seconds) + "\n");
  return why->empty() ? id + "." + secret : std::string();
}

std::string UseToken(const std::string& directory, std::string_view token, std::int64_t now) {
  const std::size_t dot = token.find('.');
  const std::string id(token.substr(0, dot));
  if (dot != kIdChars || token.size() != kIdChars + 1 + kSecretChars || !IsHex(id)) return "this is no token";
  const std::string path = directory + "/" + id;
  std::istringstream in(ReadFile(path));
  std::string purpose, hash;
  std::int64_t until = 0;
  in >> purpose >> hash >> until;
  // One answer for what never was and what was used: neither is told apart from outside.
  const std::string unknown = "the token is not known here, or was used already: make another with sheaf token create";
  if (!in || purpose != "join") return unknown;
  const std::string shown = HashOf(token.substr(dot + 1));
  if (shown.size() != hash.size() || CRYPTO_memcmp(shown.data(), hash.data(), hash.size()) != 0) return unknown;
  if (unlink(path.c_str()) != 0) return unknown;  // somebody was faster
  if (until < now) return "the token has expired: make another with sheaf token create";
  return {};
}

}  // namespace sheaf::scheduler
