// What `sheaf list`, `get` and `why` have in common: one scheduler is found, and asked for all that it may show.
#pragma once

#include <string>

#include "scheduler/cluster_view.h"

namespace sheaf::cli {

struct ClusterQuestion {
  std::string address;  // the scheduler's or a pool's; empty: the one that this machine's daemons belong to
  std::string pki;
  std::string format = "table";
  int timeout_s = 5;
};

struct ClusterReply {
  int exit_code = 0;
  std::string address, reason;  // who was asked; why there is no view
  scheduler::ClusterView view;
  bool ok() const { return exit_code == 0; }
};

// Starts the program over as its larger half if a scheduler has to be asked.
ClusterReply AskCluster(const ClusterQuestion& question, char** argv);

// Prints what was made of the reply, and why there is nothing, and returns the exit code.
int Answer(const ClusterReply& reply, const std::string& text, int exit_code);

}  // namespace sheaf::cli
