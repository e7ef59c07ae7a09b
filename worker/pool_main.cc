#include "worker/pool_main.h"

#include <sys/prctl.h>

#include <cstdio>
#include <string>

#include "worker/pool_server.h"

namespace sheaf {

int RunPool(const PoolOptions& options, const ViewSink& on_view, Neighbours* neighbours) {
  prctl(PR_SET_NAME, "sheaf-pool");
  PoolServer server(options);
  if (on_view) server.set_on_view(on_view);
  server.set_neighbours(neighbours);
  std::string reason;
  if (!server.Start(&reason)) {
    std::fprintf(stderr, "sheaf pool: %s\n", reason.c_str());
    return 1;
  }
  return server.Run();
}

}  // namespace sheaf
