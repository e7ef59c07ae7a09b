// `sheaf scheduler start` and `sheaf pool start`: daemons in the foreground.
//
// Each prints one ready line on stdout once it serves, writes its --address-file, announces itself in the runtime
// directory, and removes both when it ends.
#pragma once

#include <string>

namespace sheaf::cli {

struct SchedulerStart {
  std::string listen, state_dir, address_file;
  int lost_after_s = 2;
};
int RunSchedulerStart(const SchedulerStart& options, char** argv);

struct PoolStart {
  std::string workers = "-1";     // checked: a number; less than 0: one per core
  std::string store_bytes = "0";  // checked: digits; 0: half of the memory
  std::string scheduler, join, token_file, pki, relay_listen, relay_address, socket_path, pool_id, address_file;
  std::string resources, labels;  // checked: text of needs (base/needs.h)
  int drain_s = 10;
};
int RunPoolStart(const PoolStart& options);

}  // namespace sheaf::cli
