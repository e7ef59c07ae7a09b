#include "base/failpoint.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <charconv>

namespace sheaf {
namespace {

// Constant-initialised, so that failpoints of any file may register before main.
constinit std::atomic<Failpoint*> g_first{nullptr};

std::int64_t NumberIn(std::string_view text, std::int64_t otherwise) {
  std::int64_t value = otherwise;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

// The part of SHEAF_FP that follows `name=`; empty when the failpoint is not armed.
std::string_view Armed(std::string_view name) {
  const char* env = getenv("SHEAF_FP");
  std::string_view rest = env ? env : "";
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find(';'), rest.size());
    const std::string_view entry = rest.substr(0, end);
    if (entry.size() > name.size() && entry.starts_with(name) && entry[name.size()] == '=') {
      return entry.substr(name.size() + 1);
    }
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return {};
}

}  // namespace

Failpoint::Failpoint(std::string_view name) : name_(name) {
  std::string_view action = Armed(name);
  if (const std::size_t at = action.find('@'); at != std::string_view::npos) {
    only_ = static_cast<std::uint32_t>(NumberIn(action.substr(at + 1), 1));
    action = action.substr(0, at);
  }
  const std::size_t open = action.find('(');
  const std::string_view value = open == std::string_view::npos ? "" : action.substr(open + 1);
  const std::string_view verb = action.substr(0, open);
  if (verb == "kill") act_ = Act::kKill;
  if (verb == "sleep") act_ = Act::kSleep, value_ = NumberIn(value, 10);
  if (verb == "error") act_ = Act::kError, value_ = NumberIn(value, EIO);
  next_ = g_first.load(std::memory_order_relaxed);
  while (!g_first.compare_exchange_weak(next_, this)) {
  }
}

int Failpoint::Pass() {
  if (act_ == Act::kNone) return 0;
  const std::uint32_t pass = passes_.fetch_add(1, std::memory_order_relaxed) + 1;
  if (only_ != 0 && pass != only_) return 0;
  switch (act_) {
    case Act::kKill:
      kill(getpid(), SIGKILL);
      while (true) pause();
    case Act::kSleep: {
      timespec span{value_ / 1000, (value_ % 1000) * 1'000'000};
      while (nanosleep(&span, &span) != 0) {
      }
      return 0;
    }
    case Act::kError:
      return static_cast<int>(value_);
    case Act::kNone:
      break;
  }
  return 0;
}

std::vector<std::string> ListFailpoints() {
  std::vector<std::string> names;
  for (const Failpoint* at = g_first.load(); at; at = at->next_) names.emplace_back(at->name_);
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace sheaf
