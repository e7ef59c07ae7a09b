// The driver of travel_test: what its tasks on another machine see of what it brought along, a line each.
//
//   travel_program library
//   travel_program onward DIRECTORY             tasks of a task, until two places have run some
//   travel_program limits                       of open files and seconds of CPU
//   travel_program files DIRECTORY [OPTION]     its working directory
//   travel_program gone DIRECTORY               a file that is declared, and removed before the first task
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "sheaf/sheaf.h"
#include "tests/cluster/travel_library.h"

namespace {

constexpr std::chrono::seconds kPatience{30};

std::string Where() { return std::filesystem::current_path(); }
std::string Read(const std::string& name) {
  std::ifstream file(name);
  return file ? std::string(std::istreambuf_iterator<char>(file), {}) : "(none)";
}
std::string Execute(const std::string& name) {
  FILE* output = popen(("./" + name).c_str(), "r");
  char line[64] = {};
  if (!output || !std::fgets(line, sizeof line, output)) line[0] = '\0';
  if (output) pclose(output);
  return std::string(line).substr(0, std::string(line).find('\n'));
}
std::string Write(const std::string& name, const std::string& text) {
  std::ofstream(name) << text;
  return Read(name);
}
int Pid() { return getpid(); }
std::string LibraryPath() { return SheafTravelLibraryPath(); }

template <auto F, class... Arguments>
auto Ask(const Arguments&... arguments) {
  return sheaf::Task<F>({.retries = 10}).Remote(arguments...).Get(kPatience);
}

void Say(const std::string& line) {
  std::puts(line.c_str());
  std::fflush(stdout);
}

// Once more with a worker that starts when this machine does not have the library any more either.
void Library() {
  Say(LibraryPath());
  Say(Ask<LibraryPath>());
  const std::filesystem::path own = std::filesystem::path(LibraryPath()).parent_path();
  std::filesystem::rename(own, own.string() + ".away");
  const int before = Ask<Pid>();
  kill(before, SIGKILL);
  Say(Ask<Pid>() == before ? "the same worker" : "another worker");
  Say(Ask<LibraryPath>());
}

std::string SoftLimits() {
  rlimit files{}, seconds{};
  getrlimit(RLIMIT_NOFILE, &files);
  getrlimit(RLIMIT_CPU, &seconds);
  return std::to_string(files.rlim_cur) + " " + std::to_string(seconds.rlim_cur);
}
std::string WhereWithAll() {
  usleep(100'000);
  return Where() + " " + (access(SheafTravelLibraryPath(), R_OK) == 0 ? "library " : "no library ") + Read("one.txt") +
         " " + SoftLimits();
}
std::vector<std::string> Children() {
  std::vector<sheaf::ObjectRef<std::string>> refs;
  for (int i = 0; i < 20; ++i) refs.push_back(sheaf::Task<WhereWithAll>({.retries = 10}).Remote());
  return sheaf::Get(refs);
}
void Onward() {
  std::set<std::string> seen;
  for (int round = 0; round < 10 && seen.size() < 2; ++round)
    for (const std::string& line : Ask<Children>()) seen.insert(line);
  for (const std::string& line : seen) Say(line);
}

std::string HardLimits() {
  rlimit files{}, seconds{};
  getrlimit(RLIMIT_NOFILE, &files);
  getrlimit(RLIMIT_CPU, &seconds);
  return std::to_string(files.rlim_max) + " " + std::to_string(seconds.rlim_max);
}
void Lower(__rlimit_resource resource, rlim_t to) {
  rlimit limit{};
  getrlimit(resource, &limit);
  limit.rlim_cur = to;
  if (setrlimit(resource, &limit) != 0) throw std::runtime_error("setrlimit");
}
void Limits() {
  Say(Ask<SoftLimits>());
  Say(Ask<HardLimits>());
}

void Files() {
  Say(Ask<Where>());
  for (const char* name : {"one.txt", "data/input.txt", "data/empty", "other.txt"})
    Say(std::string(name) + ": " + Ask<Read>(std::string(name)));
  Say(Ask<Execute>(std::string("data/deep/run.sh")));
  Say(Ask<Write>(std::string("one.txt"), std::string("changed")));
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const std::string what = argc > 1 ? argv[1] : "";
    if (what == "files" || what == "onward" || what == "gone") std::filesystem::current_path(argv[2]);
    if (what == "limits" || what == "onward") Lower(RLIMIT_NOFILE, 777), Lower(RLIMIT_CPU, 5000);
    sheaf::Init(argc, argv);
    if (what == "gone") std::filesystem::remove("one.txt"), Say(Ask<Where>());
    if (what == "library") Library();
    if (what == "files") Files();
    if (what == "limits") Limits();
    if (what == "onward") Onward();
    sheaf::Shutdown();
    Say("done");
    return 0;
  } catch (const sheaf::InitError& error) {
    Say(std::string("InitError: ") + error.what());
    return 1;
  } catch (const sheaf::LimitError& error) {
    Say(std::string("LimitError: ") + error.what());
    return 1;
  } catch (const std::exception& error) {
    Say(std::string("error: ") + error.what());
    return 1;
  }
}
