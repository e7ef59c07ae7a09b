// Assertions that stay on. SHEAF_CHECK guards invariants of ours; what a peer, a file or a user can cause is an error
// value, never a check.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace sheaf::detail {

[[noreturn]] inline void CheckFailed(const char* expression, const char* file, int line) {
  std::fprintf(stderr, "%s:%d: check failed: %s\n", file, line, expression);
  std::fflush(stderr);
  std::abort();
}

}  // namespace sheaf::detail

#define SHEAF_CHECK(condition)                                              \
  (__builtin_expect(static_cast<bool>(condition), 1) ? static_cast<void>(0) \
                                                     : ::sheaf::detail::CheckFailed(#condition, __FILE__, __LINE__))

#ifdef NDEBUG
#define SHEAF_DCHECK(condition) static_cast<void>(sizeof(static_cast<bool>(condition)))
#else
#define SHEAF_DCHECK(condition) SHEAF_CHECK(condition)
#endif
