#include "scheduler/ticket.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <sstream>
#include <stdexcept>

#include "base/hex.h"

namespace sheaf::scheduler {
namespace {

constexpr std::size_t kTextMax = 2048;
constexpr std::string_view kGrant = "sheaf1", kCredit = "sheaf1-credit";

std::string Mac(std::string_view key, std::string_view text) {
  unsigned char mac[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), reinterpret_cast<const unsigned char*>(text.data()),
       text.size(), mac, &size);
  return {reinterpret_cast<const char*>(mac), size};
}

std::string HexMac(std::string_view key, std::string_view text) {
  const std::string mac = Mac(key, text);
  return HexOf(mac.data(), mac.size());
}

// Ids have no spaces: the scheduler has checked them.
std::string Words(const Ticket& ticket) {
  std::ostringstream out;
  out << (ticket.credit ? kCredit : kGrant) << ' ' << ticket.cluster << ' ' << ticket.epoch << ' ' << ticket.grant
      << ' ' << ticket.lender << ' ' << ticket.lender_incarnation << ' ' << ticket.borrower << ' ' << ticket.job << ' '
      << ticket.slots << ' ' << ticket.cpus_milli << ' ' << ticket.expires;
  return out.str();
}

}  // namespace

std::string NewSecret() {
  std::string secret(32, '\0');
  if (RAND_bytes(reinterpret_cast<unsigned char*>(secret.data()), static_cast<int>(secret.size())) != 1)
    throw std::runtime_error("the system has no random bytes");
  return secret;
}

std::string LenderKey(std::string_view secret, std::string_view pool, std::uint64_t incarnation) {
  return Mac(secret, "lender " + std::string(pool) + " " + std::to_string(incarnation));
}

std::string SignTicket(std::string_view key, const Ticket& ticket) {
  const std::string words = Words(ticket);
  return words + ' ' + HexMac(key, words);
}

std::optional<Ticket> OpenTicket(std::string_view key, std::string_view text, std::string* why) {
  const std::size_t space = text.rfind(' ');
  if (text.size() > kTextMax || space == std::string_view::npos || key.empty()) {
    *why = "it shows no ticket";
    return std::nullopt;
  }
  const std::string words(text.substr(0, space)), mac = HexMac(key, words);
  const std::string_view shown = text.substr(space + 1);
  if (shown.size() != mac.size() || CRYPTO_memcmp(shown.data(), mac.data(), mac.size()) != 0) {
    *why = "its ticket was not made for this pool, or by this cluster's scheduler";
    return std::nullopt;
  }
  std::istringstream in(words);
  std::string version;
  Ticket ticket;
  in >> version >> ticket.cluster >> ticket.epoch >> ticket.grant >> ticket.lender >> ticket.lender_incarnation >>
      ticket.borrower >> ticket.job >> ticket.slots >> ticket.cpus_milli >> ticket.expires;
  ticket.credit = version == kCredit;
  if (!in || Words(ticket) != words) {
    *why = "its ticket is of another version";
    return std::nullopt;
  }
  return ticket;
}

}  // namespace sheaf::scheduler
