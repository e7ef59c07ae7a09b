// Text that a stranger may show: invitations, tokens, tickets, certificate requests.
#include <cstring>

#include "base/check.h"
#include "scheduler/join_tokens.h"
#include "scheduler/pki.h"
#include "scheduler/ticket.h"
#include "tests/fuzz/target.h"

namespace {

using namespace sheaf::scheduler;

const Authority& TheAuthority() {
  static const Authority authority = NewAuthority("c");
  return authority;
}
Ticket ATicket() { return {"c", "far", "near", 3, 7, 9, 1, 2, 1000, 2'000'000'000}; }

}  // namespace

std::vector<std::string> FuzzSeeds() {
  return {SignTicket("key", ATicket()),
          FormatInvitation({"h:1", "0123456789abcdef.secret", TheAuthority().certificate}), NewRequest(NewKey()),
          "spiffe://c/pool/far"};
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  std::string why;
  if (const auto ticket = OpenTicket("key", text, &why)) SHEAF_CHECK(*ticket == ATicket());
  Invitation invitation;
  (void)ParseInvitation(text, &invitation, &why);
  (void)ParseIdentity(text);
  (void)IdentityIn(text);
  SHEAF_CHECK(!UseToken("/nonexistent", text, 0).empty());
  if (text.starts_with("-----BEGIN")) (void)Sign(TheAuthority(), text, {"c", "pool", "p"}, 60);
  return 0;
}
