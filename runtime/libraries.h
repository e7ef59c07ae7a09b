// The shared libraries that a program maps and that another machine need not have: those outside the system's directories.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace sheaf::runtime {

inline constexpr std::size_t kLibrariesMax = 256;

// Absolute paths, in the order in which the dynamic linker has them, by the names under which it looked for them.
std::vector<std::string> MappedLibraries();
bool IsSystemLibrary(std::string_view path);

// As one line of environment: a directory that ends with '/' and then the names in it, a line each. `!` and why, if
// they are too many.
std::string PackLibraries(const std::vector<std::string>& paths);
// Empty, or what is wrong with the text.
std::string UnpackLibraries(std::string_view text, std::vector<std::string>* paths);

}  // namespace sheaf::runtime
