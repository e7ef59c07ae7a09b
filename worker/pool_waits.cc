// Programs whose tasks nobody runs are told so, and what to do: else they wait without a word for a scheduler or a pool to come.
#include <algorithm>

#include "scheduler/cluster_view.h"
#include "worker/pool_send.h"

namespace sheaf {

void PoolServer::TellWhoWaits() {
  for (auto& [id, job] : jobs_) {
    if (job.over || job.twin_of != 0 || job.stays_here) continue;
    bool waits = false, runs = false;
    std::uint64_t waiting = 0;
    for (lease::Shape shape = 0; shape < job.shapes.size(); ++shape) {
      const std::uint64_t number = NumberOf(id, shape);
      const bool served =
          leases_->Running({id, shape}) > 0 || std::any_of(relays_.begin(), relays_.end(), [&](const auto& at) {
            const Relay& relay = at.second;
            return relay.grant.job == number && relay.client != 0 && relay.parked_since == INT64_MAX && !relay.leaving;
          });
      runs |= served;
      if (served || waits || (leases_->Elsewhere({id, shape}) == 0 && AskedByParked(number) == 0)) continue;
      waits = true;
      waiting = number;
    }
    const WaitWatch::Say say = job.wait.OnState(waits, runs, now_);
    if (say == WaitWatch::Say::kNothing) continue;
    Connection* driver = ConnectionOf(id);
    if (driver == nullptr) continue;
    const std::string text = say == WaitWatch::Say::kWaits ? WhyItWaits(waiting) : "this program goes on";
    Send(*driver, wire::Kind::kNotice, 0, wire::Bare{}, {}, text);
  }
}

std::string PoolServer::WhyItWaits(std::uint64_t number) const {
  const std::string pool = View().pool_id;
  const std::string own =
      "this program waits: its pool " + pool + " has no " + (slots_ == 0 ? "" : "free ") + "workers ";
  const std::string trouble = neighbours_->Trouble();
  if (!trouble.empty())
    return own + "and is in no cluster at the moment (" + options_.scheduler + ": " + trouble +
           "). Start that scheduler again, or attach to a pool with workers: sheaf pool start";
  return own + "and no other pool of its cluster has given any. To see why: sheaf why " + pool + "/" +
         scheduler::JobText(number) + " --address " + options_.socket_path +
         ". To add some, on this machine or another: sheaf pool start, in the same cluster";
}

}  // namespace sheaf
