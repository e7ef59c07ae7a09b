#include "cli/launch_command.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "base/address_file.h"
#include "cli/cluster_part.h"
#include "cli/exit_code.h"
#include "cli/token_command.h"

namespace sheaf::cli {
namespace {

constexpr int kNoCommand = 127;  // as shells say it

// Names of hosts become names of pools and words of a remote command line: nothing in them may mean more than itself.
bool IsPlainHost(const std::string& host) {
  if (host.empty() || host.size() > 64 || host[0] == '-') return false;
  return std::all_of(host.begin(), host.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
           c == '.' || c == '@';
  });
}
std::string PoolNameOf(const std::string& host) { return host.substr(host.find('@') + 1); }

// Runs the words with `input` on their standard input; their exit code, or -1.
int Run(std::vector<std::string> words, const std::string& input) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return -1;
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  const pid_t pid = fork();
  if (pid == 0) {
    dup2(ends[0], 0);
    execvp(arguments[0], arguments.data());
    std::perror(arguments[0]);
    _exit(127);
  }
  close(ends[0]);
  signal(SIGPIPE, SIG_IGN);
  for (std::size_t at = 0; at < input.size();) {
    const ssize_t written = write(ends[1], input.data() + at, input.size() - at);
    if (written <= 0) break;
    at += static_cast<std::size_t>(written);
  }
  close(ends[1]);
  int status = 0;
  if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status)) return -1;
  return WEXITSTATUS(status);
}

std::string AnnouncedScheduler(const std::string& wanted) {
  std::string error;
  for (const FoundAddress& one : ListAnnounced(RuntimeDirectory(&error)))
    if (one.kind == "scheduler" && (wanted.empty() || one.address == wanted)) return one.address;
  return {};
}

// A daemon of its own session, which outlives this command.
bool StartScheduler(const std::string& listen, const std::string& log) {
  const pid_t pid = fork();
  if (pid == 0) {
    setsid();
    const int null = open("/dev/null", O_RDONLY);
    const int file = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(null, 0);
    dup2(file, 1);
    dup2(file, 2);
    execl("/proc/self/exe", "sheaf", "scheduler", "start", "--listen", listen.c_str(), nullptr);
    _exit(127);
  }
  for (int i = 0; i < 200 && pid > 0; ++i) {
    if (!AnnouncedScheduler(listen).empty()) return true;
    if (waitpid(pid, nullptr, WNOHANG) == pid) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  return false;
}

// What was written to the file from there on: its last lines, as the daemon says at the end why it could not serve.
std::string LastWords(const std::string& log, std::uintmax_t from) {
  std::ifstream file(log);
  file.seekg(static_cast<std::streamoff>(from));
  std::string line, last;
  while (std::getline(file, line))
    if (!line.empty()) last = line;
  return last.rfind("sheaf: ", 0) == 0 ? last.substr(7) : last;
}

bool IsThisMachine(const std::string& host) {
  const std::string name = PoolNameOf(host);
  char own[65] = {};
  gethostname(own, sizeof own - 1);
  return name == "localhost" || name.rfind("127.", 0) == 0 || name == own;
}

// Empty, or why those hosts cannot reach a scheduler there. `runs`: it is there already.
std::string CannotReach(const std::vector<std::string>& hosts, const std::string& where, bool runs) {
  const scheduler::ListenAddress address = scheduler::ParseListenAddress(where);
  if (address.fault == scheduler::ListenAddress::Fault::kMalformed) return address.reason;
  const auto other = std::find_if_not(hosts.begin(), hosts.end(), IsThisMachine);
  if (address.fault != scheduler::ListenAddress::Fault::kNone || other == hosts.end()) return {};
  return *other + " cannot reach " + where + ", which is an address within this machine: " +
         (runs ? "end the scheduler that listens there (sheaf stop --address " + where + ") and launch" : "launch") +
         " with --listen IP:PORT, where IP is this machine's address that " + *other + " sees (ip -brief address)";
}

bool Serves(const scheduler::ClusterView& view, const std::string& host) {
  return std::any_of(view.pools.begin(), view.pools.end(), [&](const auto& row) {
    return row.pool.pool_id == PoolNameOf(host) && row.standing == scheduler::Standing::kAlive;
  });
}

std::size_t Alive(const scheduler::ListenAddress& address, const std::vector<std::string>& hosts) {
  const ClusterAnswer answer = AskScheduler(address, std::chrono::seconds(5));
  return static_cast<std::size_t>(
      std::count_if(hosts.begin(), hosts.end(), [&](const auto& host) { return Serves(answer.view, host); }));
}

bool Await(const scheduler::ListenAddress& address, const LaunchRequest& request, std::size_t count) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(request.timeout_s);
  while (std::chrono::steady_clock::now() < deadline) {
    if (Alive(address, request.hosts) == count) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  return false;
}

int Down(const LaunchRequest& request, const std::string& where) {
  const scheduler::ListenAddress address = scheduler::ParseListenAddress(where);
  for (const std::string& host : request.hosts) {
    bool found = false;
    const std::string why = AskForDrain(address, PoolNameOf(host), &found);
    if (!why.empty()) std::fprintf(stderr, "sheaf: %s\n", why.c_str());
    if (why.empty() && !found) std::fprintf(stderr, "sheaf: no living pool is named %s\n", PoolNameOf(host).c_str());
  }
  if (!Await(address, request, 0)) {
    std::fprintf(stderr, "sheaf: some pools still run after %d s\n", request.timeout_s);
    return kExitTimeout;
  }
  std::string error;
  for (const FoundAddress& one : ListAnnounced(RuntimeDirectory(&error)))
    if (one.kind == "scheduler" && one.address == where) kill(static_cast<pid_t>(one.pid), SIGTERM);
  std::printf("the cluster at %s has ended\n", where.c_str());
  return kExitOk;
}

}  // namespace

int RunLaunch(const LaunchRequest& request, char** argv) {
  for (const std::string& host : request.hosts) {
    if (IsPlainHost(host)) continue;
    std::fprintf(stderr, "sheaf: '%s' is no name of a host\n", host.c_str());
    return kExitUsage;
  }
  RequireClusterPart(argv);
  const std::string state = StateHome() + "/scheduler";
  std::string where = AnnouncedScheduler(request.listen);
  if (request.down) {
    if (!where.empty()) return Down(request, where);
    std::fprintf(stderr, "sheaf: no such scheduler runs on this machine\n");
    return kExitNotFound;
  }
  if (where.empty() && request.listen.empty()) {
    std::fprintf(stderr, "sheaf: no scheduler runs on this machine: say where it shall listen with --listen IP:PORT\n");
    return kExitUsage;
  }
  if (const std::string why = CannotReach(request.hosts, where.empty() ? request.listen : where, !where.empty());
      !why.empty()) {
    std::fprintf(stderr, "sheaf: %s\n", why.c_str());
    return kExitUsage;
  }
  if (where.empty()) {
    const std::string log = StateHome() + "/scheduler.log";
    std::error_code none;
    std::filesystem::create_directories(StateHome(), none);
    const std::uintmax_t before = std::filesystem::file_size(log, none);
    if (!StartScheduler(request.listen, log)) {
      const std::string why = LastWords(log, none ? 0 : before);
      std::fprintf(stderr, "sheaf: the scheduler did not start%s%s; its log is %s\n", why.empty() ? "" : ": ",
                   why.c_str(), log.c_str());
      return kExitFailed;
    }
    where = request.listen;
  }
  std::istringstream words(request.ssh);
  std::vector<std::string> ssh;
  for (std::string word; words >> word;) ssh.push_back(word);
  int failed = 0;
  const ClusterAnswer before = AskScheduler(scheduler::ParseListenAddress(where), std::chrono::seconds(5));
  for (const std::string& host : request.hosts) {
    if (Serves(before.view, host)) {  // a second one would be turned away as long as that one lives
      std::printf("%s: a pool of that name serves already\n", host.c_str());
      continue;
    }
    std::string invitation, why;
    if (!MakeInvitation(state, 600, &where, &invitation, &why)) {
      std::fprintf(stderr, "sheaf: %s\n", why.c_str());
      return kExitFailed;
    }
    std::vector<std::string> command = ssh;
    command.push_back(host);
    // The secret goes through the connection, not over a command line. The pool outlives the connection.
    command.push_back(
        "umask 077; d=${XDG_STATE_HOME:-$HOME/.local/state}/sheaf; mkdir -p \"$d\"; cat > \"$d/invitation\"; "
        "command -v " +
        request.remote.substr(0, request.remote.find(' ')) + " >/dev/null || exit 127; setsid " + request.remote +
        " pool start --workers " + request.workers + " --id " + PoolNameOf(host) + " --join " + where +
        " --token-file \"$d/invitation\" --address-file \"$d/pool.address\" "
        ">\"$d/pool.log\" 2>&1 </dev/null & ");
    const int code = Run(command, invitation);
    if (code == kNoCommand) {
      std::printf("%s: has no %s: install it there, or name it with --remote-sheaf\n", host.c_str(),
                  request.remote.c_str());
    } else {
      std::printf("%s: %s\n", host.c_str(), code == 0 ? "started" : "could not be reached");
    }
    failed += code != 0;
  }
  if (failed > 0) return kExitFailed;
  if (!Await(scheduler::ParseListenAddress(where), request, request.hosts.size())) {
    std::fprintf(stderr, "sheaf: not all pools have joined after %d s; look at .local/state/sheaf/pool.log there\n",
                 request.timeout_s);
    return kExitTimeout;
  }
  std::printf(
      "%zu pools serve at %s; on any of them: SHEAF_ADDRESS=$(cat ~/.local/state/sheaf/pool.address) ./program\n",
      request.hosts.size(), where.c_str());
  return kExitOk;
}

}  // namespace sheaf::cli
