// Machines that are network namespaces of this one, joined by a bridge: what goes between them takes a link, not loopback.
#pragma once

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <vector>

namespace bench {

inline bool Shell(const std::string& command) { return std::system((command + " >/dev/null 2>&1").c_str()) == 0; }

// Gone with the object. Machine i, counted from 1, has the address 10.78.0.i.
class Links {
 public:
  explicit Links(bool slow = false) : slow_(slow) {}  // slow: 50 MB/s both ways
  Links(const Links&) = delete;
  ~Links() {
    for (const std::string& machine : machines_) Shell("ip netns del " + NameOf(machine));
  }
  std::string NameOf(const std::string& machine) const { return "sb" + std::to_string(owner_) + "-" + machine; }
  bool MakeHub() {
    machines_.push_back("hub");
    const std::string hub = NameOf("hub");
    return Shell("ip netns add " + hub) && Shell("ip -n " + hub + " link add br0 type bridge") &&
           Shell("ip -n " + hub + " link set br0 up");
  }
  bool MakeMachine(const std::string& machine) {
    const std::string hub = NameOf("hub"), own = NameOf(machine), port = "p" + std::to_string(machines_.size());
    const std::string address = "10.78.0." + std::to_string(machines_.size()) + "/24";
    const std::string shape = " root tbf rate 400mbit burst 256kb latency 50ms";
    machines_.push_back(machine);
    return Shell("ip netns add " + own) && Shell("ip -n " + own + " link set lo up") &&
           Shell("ip link add " + port + " netns " + hub + " type veth peer name eth0 netns " + own) &&
           Shell("ip -n " + hub + " link set " + port + " master br0 up") &&
           Shell("ip -n " + own + " addr add " + address + " dev eth0") &&
           Shell("ip -n " + own + " link set eth0 up") &&
           (!slow_ || (Shell("tc -n " + own + " qdisc add dev eth0" + shape) &&
                       Shell("tc -n " + hub + " qdisc add dev " + port + shape)));
  }
  // Sockets that the calling thread makes from now on are that machine's.
  bool Enter(const std::string& machine) const {
    const int name = open(("/run/netns/" + NameOf(machine)).c_str(), O_RDONLY | O_CLOEXEC);
    const bool entered = name >= 0 && setns(name, CLONE_NEWNET) == 0;
    if (name >= 0) close(name);
    return entered;
  }

 private:
  const bool slow_;
  const pid_t owner_ = getpid();
  std::vector<std::string> machines_;
};

}  // namespace bench
