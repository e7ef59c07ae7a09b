// A child process for tests of the command line: started with pipes, read by lines, waited for with a deadline.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <map>
#include <string>
#include <utility>
#include <vector>

extern char** environ;

namespace sheaf::cli {

class Child {
 public:
  static constexpr std::chrono::seconds kPatience{60};

  Child(const std::vector<std::string>& words, const std::map<std::string, std::string>& environment) {
    std::vector<std::string> variables;
    for (char** v = environ; *v != nullptr; ++v) {
      const std::string entry = *v;
      if (!environment.contains(entry.substr(0, entry.find('=')))) variables.push_back(entry);
    }
    for (const auto& [name, value] : environment) {
      if (!value.empty()) variables.push_back(name + "=" + value);  // empty: unset
    }
    std::vector<char*> arguments, settings;
    for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
    for (const std::string& one : variables) settings.push_back(const_cast<char*>(one.c_str()));
    arguments.push_back(nullptr);
    settings.push_back(nullptr);
    int in[2], out[2], err[2];
    EXPECT_EQ(pipe2(in, O_CLOEXEC) | pipe2(out, O_CLOEXEC) | pipe2(err, O_CLOEXEC), 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], 0);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    posix_spawn_file_actions_adddup2(&actions, err[1], 2);
    EXPECT_EQ(posix_spawn(&pid_, words[0].c_str(), &actions, nullptr, arguments.data(), settings.data()), 0)
        << words[0];
    posix_spawn_file_actions_destroy(&actions);
    for (const int fd : {in[0], out[1], err[1]}) close(fd);
    in_ = in[1];
    out_ = out[0];
    err_ = err[0];
  }
  Child(Child&& other) noexcept
      : pid_(std::exchange(other.pid_, -1)),
        in_(std::exchange(other.in_, -1)),
        out_(std::exchange(other.out_, -1)),
        err_(std::exchange(other.err_, -1)),
        text_(std::move(other.text_)),
        error_text_(std::move(other.error_text_)) {}
  ~Child() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    for (const int fd : {in_, out_, err_}) {
      if (fd >= 0) close(fd);
    }
  }

  // The next line of standard output; empty at its end or after the deadline.
  std::string Line() { return NextLine(out_, &text_); }
  // The same of standard error. What it has taken, Errors gives no more.
  std::string ErrorLine() { return NextLine(err_, &error_text_); }
  std::string Rest() {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (ReadMore(out_, &text_, deadline)) {
    }
    return std::exchange(text_, {});
  }
  std::string Errors() {
    std::string text = std::exchange(error_text_, {});
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (ReadMore(err_, &text, deadline)) {
    }
    return text;
  }
  void CloseInput() { close(std::exchange(in_, -1)); }
  void Signal(int signal) { kill(pid_, signal); }
  pid_t pid() const { return pid_; }

  // Exit code, 128 + signal, or -1 if it still runs after the deadline.
  int Wait() {
    const int process = static_cast<int>(syscall(SYS_pidfd_open, pid_, 0));
    pollfd ended{process, POLLIN, 0};
    const int got = poll(&ended, 1, static_cast<int>(std::chrono::milliseconds(kPatience).count()));
    close(process);
    if (got != 1) return -1;
    int status = 0;
    waitpid(std::exchange(pid_, -1), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

 private:
  static std::string NextLine(int fd, std::string* text) {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    for (;;) {
      const std::size_t end = text->find('\n');
      if (end != std::string::npos) {
        const std::string line = text->substr(0, end);
        text->erase(0, end + 1);
        return line;
      }
      if (!ReadMore(fd, text, deadline)) return {};
    }
  }
  static bool ReadMore(int fd, std::string* text, std::chrono::steady_clock::time_point deadline) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd ready{fd, POLLIN, 0};
    if (left.count() <= 0 || poll(&ready, 1, static_cast<int>(left.count())) <= 0) return false;
    char bytes[4096];
    const ssize_t got = read(fd, bytes, sizeof bytes);
    if (got <= 0) return false;
    text->append(bytes, static_cast<std::size_t>(got));
    return true;
  }

  pid_t pid_ = -1;
  int in_ = -1, out_ = -1, err_ = -1;
  std::string text_, error_text_;
};

}  // namespace sheaf::cli
