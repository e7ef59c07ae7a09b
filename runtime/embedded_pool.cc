#include "runtime/embedded_pool.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "base/byte_size.h"
#include "base/needs.h"
#include "sheaf/error.h"

// Of programs that were built within Sheaf's build tree only (worker/build_tree.cc).
extern "C" [[gnu::weak]] const char sheaf_build_tree_executable[];

namespace sheaf::runtime {
namespace {

pid_t embedded_pid = 0;

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

int ParseCount(const std::string& text, const char* what) {
  char* end = nullptr;
  const long value = std::strtol(text.c_str(), &end, 10);
  if (text.empty() || *end != '\0' || value < 1 || value > 4096)
    throw InitError(std::string(what) + " must be a number from 1 to 4096, not \"" + text + "\"");
  return static_cast<int>(value);
}

bool IsExecutable(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::is_regular_file(path, error) && access(path.c_str(), X_OK) == 0;
}

// SHEAF_BIN; beside the program; a bin or cli folder beside or above it (an installed or a build tree); where the program's
// own build made it, which is of the same version as its library; PATH.
std::string FindSheaf() {
  if (const std::string named = Environment("SHEAF_BIN"); !named.empty()) {
    if (!IsExecutable(named)) throw InitError("SHEAF_BIN names \"" + named + "\", which cannot be executed");
    return named;
  }
  std::error_code error;
  auto folder = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  for (int up = 0; up < 5 && !folder.empty(); ++up, folder = folder.parent_path()) {
    for (const auto& candidate : {folder / "sheaf", folder / "bin" / "sheaf", folder / "cli" / "sheaf"})
      if (IsExecutable(candidate)) return candidate;
    if (folder == folder.root_path()) break;
  }
  if (sheaf_build_tree_executable && IsExecutable(sheaf_build_tree_executable)) return sheaf_build_tree_executable;
  std::string path = Environment("PATH");
  for (std::size_t at = 0; at <= path.size();) {
    const std::size_t end = std::min(path.find(':', at), path.size());
    const auto candidate = std::filesystem::path(path.substr(at, end - at)) / "sheaf";
    if (end > at && IsExecutable(candidate)) return candidate;
    at = end + 1;
  }
  throw InitError(
      "no pool address was given and the `sheaf` executable was not found to start one: set SHEAF_ADDRESS to a pool's "
      "socket, or SHEAF_BIN to the executable, or put it into PATH");
}

}  // namespace

InitOptions TakeInitOptions(int* argc, char** argv) {
  InitOptions options;
  options.address = Environment("SHEAF_ADDRESS");
  options.store = Environment("SHEAF_STORE");
  options.has = Environment("SHEAF_RESOURCES");
  options.files = Environment("SHEAF_FILES");
  if (const std::string workers = Environment("SHEAF_WORKERS"); !workers.empty())
    options.workers = ParseCount(workers, "SHEAF_WORKERS");
  if (!argv) return options;
  int kept = 0;
  bool ours = true;
  for (int i = 0; i < *argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--") ours = false;
    if (i == 0 || !ours || argument.rfind("--sheaf-", 0) != 0) {
      argv[kept++] = argv[i];
      continue;
    }
    const std::size_t equals = argument.find('=');
    const std::string name = argument.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : argument.substr(equals + 1);
    const bool known = name == "--sheaf-address" || name == "--sheaf-workers" || name == "--sheaf-store" ||
                       name == "--sheaf-resources" || name == "--sheaf-files";
    if (known && equals == std::string::npos)
      throw InitError(name + " needs its value behind a '=': write " + name + "=" +
                      (i + 1 < *argc ? argv[i + 1] : "VALUE"));
    if (name == "--sheaf-address") {
      options.address = value;
    } else if (name == "--sheaf-workers") {
      options.workers = ParseCount(value, "--sheaf-workers");
    } else if (name == "--sheaf-store") {
      options.store = value;
    } else if (name == "--sheaf-resources") {
      options.has = value;
    } else if (name == "--sheaf-files") {
      options.files = value;
    } else {
      throw InitError("unknown option " + name +
                      "; known: --sheaf-address=SOCKET --sheaf-workers=N --sheaf-store=BYTES "
                      "--sheaf-resources=gpu=1,zone:a --sheaf-files=PATH:...");
    }
  }
  *argc = kept;
  argv[kept] = nullptr;
  return options;
}

UniqueFd ConnectToPool(const std::string& given) {
  std::string address = given;
  if (address.rfind("unix:", 0) == 0) address = address.substr(5);
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  if (address.empty() || address.size() >= sizeof name.sun_path)
    throw InitError("\"" + given +
                    "\" is no usable address: give the path of a pool's unix socket (`sheaf status` shows it)");
  std::memcpy(name.sun_path, address.data(), address.size());
  UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (socket.get() < 0 || connect(socket.get(), reinterpret_cast<sockaddr*>(&name), sizeof name) != 0) {
    const bool port = address.find('/') == std::string::npos && address.find(':') != std::string::npos;
    if (errno == EPROTOTYPE || port) {  // a pool takes packets, a scheduler a stream
      const bool far = port && address.rfind("127.", 0) != 0;
      throw InitError("\"" + given +
                      "\" is a scheduler's address, and programs attach to a pool of their own machine: " +
                      "start one with `sheaf pool start " + (far ? "--join " : "--scheduler ") + given +
                      "`, and set SHEAF_ADDRESS to the socket that it prints (`sheaf status` shows it, too)");
    }
    throw InitError("no pool answers at \"" + address + "\" (" + std::strerror(errno) +
                    "); start one with `sheaf pool start`, or unset SHEAF_ADDRESS to use an embedded pool");
  }
  return socket;
}

UniqueFd StartEmbeddedPool(const InitOptions& options) {
  const std::string sheaf = FindSheaf();
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
    throw InitError(std::string("socketpair failed: ") + std::strerror(errno));
  UniqueFd own(ends[0]), theirs(ends[1]);
  std::vector<std::string> words = {"sheaf", "internal-supervisor", "--embedded", "--fd", "3"};
  if (options.workers > 0) {
    words.push_back("--workers");
    words.push_back(std::to_string(options.workers));
  }
  if (!options.has.empty()) {
    Needs needs;
    if (const std::string why = ParseNeeds(options.has, &needs); !why.empty())
      throw InitError("SHEAF_RESOURCES or --sheaf-resources: " + why);
    words.push_back("--has");
    words.push_back(FormatNeeds(needs));
  }
  if (!options.store.empty()) {
    std::uint64_t bytes = 0;
    if (const std::string why = ParseStoreSize(options.store, &bytes); !why.empty())
      throw InitError("SHEAF_STORE or --sheaf-store: " + why);
    words.push_back("--store");
    words.push_back(std::to_string(bytes));
  }
  std::vector<char*> arguments;
  for (auto& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, theirs.get(), 3);  // a copy: without close-on-exec
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  // A Ctrl-C in the terminal is the driver's; the pool ends when the driver does.
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  posix_spawnattr_setpgroup(&attributes, 0);
  pid_t pid = 0;
  const int failed = posix_spawn(&pid, sheaf.c_str(), &actions, &attributes, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (failed != 0) throw InitError("could not start " + sheaf + ": " + std::strerror(failed));
  embedded_pid = pid;
  return own;
}

void AwaitEmbeddedPool() noexcept {
  if (embedded_pid == 0) return;
  for (int i = 0; i < 2000; ++i) {
    const pid_t reaped = waitpid(embedded_pid, nullptr, WNOHANG);
    if (reaped != 0) break;
    usleep(1000);
  }
  embedded_pid = 0;
}

}  // namespace sheaf::runtime
