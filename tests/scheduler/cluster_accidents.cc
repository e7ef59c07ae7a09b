// What goes wrong in the simulated cluster, one thing after the other.
#include "tests/scheduler/cluster_world.h"

namespace sheaf::cluster {

void World::Disturb() {
  if (!Faulty()) return;
  const int i = static_cast<int>(random_.Below(kPools));
  switch (random_.Below(14)) {
    case 0:
      Happen("scheduler restarts");
      StartScheduler();
      break;
    case 1:
      Happen("scheduler stops for a while");
      scheduler_stopped_until_ = now_ + random_.Below(5000) * kMs;
      break;
    case 2:
      Happen("disk full");
      disk_full_until_ = now_ + random_.Below(4000) * kMs;
      break;
    case 3:
      Happen("disk slow");
      disk_busy_until_ = now_ + random_.Below(3000) * kMs;
      break;
    case 4:
      Happen("pool cut off both ways");
      to_cut_[i] = from_cut_[i] = now_ + random_.Below(6000) * kMs;
      break;
    case 5:
      Happen("pool hears nothing");
      to_cut_[i] = now_ + random_.Below(6000) * kMs;
      break;
    case 6:
      Happen("pool is not heard");
      from_cut_[i] = now_ + random_.Below(6000) * kMs;
      break;
    case 7:
      Happen("link flaps");
      for (int k = 0; k < 6; ++k) At(now_ + k * 700 * kMs, [this, i] { to_cut_[i] = from_cut_[i] = now_ + 350 * kMs; });
      break;
    case 8:
      Happen("pool killed");
      KillPool(i);
      At(now_ + (50 + random_.Below(3000)) * kMs, [this, i] { StartPool(i); });
      break;
    case 9: {
      Happen("pool stopped");
      pools_[i].stopped = true;
      const std::uint64_t life = pools_[i].life;
      At(now_ + (100 + random_.Below(8000)) * kMs, [this, i, life] {
        if (pools_[i].life != life) return;
        pools_[i].stopped = false;
        Wake(i);
      });
      break;
    }
    case 10:
      Happen("relay killed");
      if (!relays_.empty()) {
        auto at = relays_.begin();
        std::advance(at, static_cast<long>(random_.Below(relays_.size())));
        Chance(50) ? NearDies(at->first) : FarDies(at->first);
      }
      break;
    case 11: {
      Happen("driver dies");
      const int d = static_cast<int>(random_.Below(kDrivers));
      KillDriver(d);
      At(now_ + random_.Below(1000) * kMs, [this, d] { StartDriver(d); });
      break;
    }
    case 12:
      Happen("own jobs come and go");
      pools_[i].own = static_cast<std::uint32_t>(random_.Below(pools_[i].slots + 1));
      Tell(i);
      break;
    case 13:
      Happen("leftover scheduler answers");
      leftover_ = std::move(scheduler_);
      StartScheduler();
      break;
  }
  At(now_ + (50 + random_.Below(1500)) * kMs, [this] { Disturb(); });
}

}  // namespace sheaf::cluster
