// Named places where a test makes a process die, stall or fail, at the n-th time it passes there.
//
//   if (SHEAF_FAILPOINT("pool.make_segment")) return Error(...);     // or as a statement, where only kill and sleep matter
//
// Armed by the environment: SHEAF_FP="a.b=kill@3;c.d=sleep(50ms);e.f=error@2;g.h=error(28)". `@n` means only the n-th pass
// of this process; without it every pass. `error` makes the macro return an errno (EIO, or the one named).
// Compiled in where SHEAF_FAILPOINTS is 1 (every preset but release); elsewhere the macro is the constant 0.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sheaf {

class Failpoint {
 public:
  explicit Failpoint(std::string_view name);
  int Pass();  // 0, or an errno

 private:
  friend std::vector<std::string> ListFailpoints();
  enum class Act : std::uint8_t { kNone, kKill, kSleep, kError };

  const std::string_view name_;
  Act act_ = Act::kNone;
  std::uint32_t only_ = 0;  // 0: every pass
  std::int64_t value_ = 0;  // milliseconds or errno
  std::atomic<std::uint32_t> passes_{0};
  Failpoint* next_ = nullptr;
};

// Names of all failpoints compiled into this program, sorted.
std::vector<std::string> ListFailpoints();

namespace detail {

constexpr int NoFailpoint() { return 0; }

template <std::size_t N>
struct FailpointName {
  consteval FailpointName(const char (&text)[N]) { std::copy_n(text, N, bytes); }
  char bytes[N];
};
template <FailpointName kName>
struct FailpointSite {
  static inline Failpoint point{std::string_view(kName.bytes)};  // before main, so that the list is complete
};

}  // namespace detail
}  // namespace sheaf

#if SHEAF_FAILPOINTS
#define SHEAF_FAILPOINT(name) (::sheaf::detail::FailpointSite<name>::point.Pass())
#else
#define SHEAF_FAILPOINT(name) (::sheaf::detail::NoFailpoint())
#endif
