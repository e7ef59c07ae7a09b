#include "cli/internal_roles.h"

#include <charconv>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "base/byte_size.h"
#include "cli/cluster_part.h"
#include "cli/exit_code.h"
#include "cli/sibling.h"
#include "worker/pool_main.h"
#include "worker/supervisor.h"

namespace sheaf::cli {
namespace {

int RunInternalPool(const std::vector<std::string>& arguments, char** argv) {
  PoolOptions options;
  std::string reason;
  if (!ParsePoolArguments(arguments, &options, &reason)) {
    std::fprintf(stderr, "sheaf internal-pool: %s\n", reason.c_str());
    return kExitUsage;
  }
  if (options.scheduler.empty()) return RunPool(options);
  RequireClusterPart(argv);
  return RunMemberPool(options);
}

bool ParseInt(const std::string& text, int* number) {
  const auto [stop, fault] = std::from_chars(text.data(), text.data() + text.size(), *number);
  return fault == std::errc() && stop == text.data() + text.size() && *number >= 0;
}

// Written by Init, so wrong only if library and executable are of different versions.
int RunInternalSupervisor(const std::vector<std::string>& arguments) {
  SupervisorOptions options;
  bool ok = true;
  for (std::size_t i = 0; i < arguments.size() && ok; ++i) {
    const std::string& name = arguments[i];
    if (name == "--embedded") continue;
    ok = ++i < arguments.size();
    if (!ok) break;
    const std::string& value = arguments[i];
    if (name == "--fd") {
      ok = ParseInt(value, &options.pool.driver_fd);
    } else if (name == "--workers") {
      ok = ParseInt(value, &options.pool.slots);
    } else if (name == "--has") {
      ok = ParseNeeds(value, &options.pool.has).empty();
    } else if (name == "--store") {
      ok = ParseStoreSize(value, &options.pool.store_bytes).empty();
    } else {
      ok = false;
    }
  }
  if (!ok || options.pool.driver_fd < 0) {
    std::fprintf(stderr,
                 "sheaf internal-supervisor: is started by sheaf::Init only; are the "
                 "program and the sheaf executable of the same version?\n");
    return kExitUsage;
  }
  return RunSupervisor(options);
}

}  // namespace

bool RunInternalRole(int argc, char** argv, int* exit_code) {
  const std::string_view role = argc > 1 ? argv[1] : "";
  if (!role.starts_with("internal-")) return false;
  const std::vector<std::string> arguments(argv + 2, argv + argc);
  if (role == "internal-pool") {
    *exit_code = RunInternalPool(arguments, argv);
    return true;
  }
  if (role == "internal-relay") BecomeSibling("sheaf-relay", argv);
  if (role == "internal-supervisor") {
    *exit_code = RunInternalSupervisor(arguments);
    return true;
  }
  return false;
}

}  // namespace sheaf::cli
