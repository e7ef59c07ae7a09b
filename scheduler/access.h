// Who may call which method: one table, and whatever it does not name is refused.
//
// On a unix socket or the loopback interface the caller is this machine's user (kLocal); everywhere else it is what its
// certificate says, or a stranger. A test walks every method of every service with every kind of credential.
#pragma once

#include <algorithm>
#include <array>
#include <string_view>

namespace sheaf::scheduler {

enum class Caller { kLocal, kStranger, kPool, kAdmin };

struct AccessRule {
  std::string_view method;  // as gRPC names it: /package.Service/Method
  bool local, stranger, pool, admin;
};
inline constexpr std::array<AccessRule, 7> kAccess = {{
    {"/sheaf.v1.Scheduler/Register", true, false, true, false},
    {"/sheaf.v1.Scheduler/Heartbeat", true, false, true, false},
    {"/sheaf.v1.Scheduler/Leave", true, false, true, false},
    {"/sheaf.v1.View/GetCluster", true, false, true, true},
    {"/sheaf.v1.Admin/Drain", true, false, false, true},
    {"/sheaf.v1.Membership/Join", false, true, true, false},
    {"/sheaf.v1.Membership/Renew", false, false, true, false},
}};

constexpr bool MayCall(Caller caller, std::string_view method) {
  for (const AccessRule& rule : kAccess) {
    if (rule.method != method) continue;
    switch (caller) {
      case Caller::kLocal:
        return rule.local;
      case Caller::kStranger:
        return rule.stranger;
      case Caller::kPool:
        return rule.pool;
      case Caller::kAdmin:
        return rule.admin;
    }
  }
  return false;
}

}  // namespace sheaf::scheduler
