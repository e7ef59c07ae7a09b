// The files that a job takes along to other machines: what its driver declares, relative to its working directory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sheaf::runtime {

inline constexpr std::size_t kFilesMax = 1024;
inline constexpr std::uint64_t kFilesBytesMax = std::uint64_t{1} << 30;  // all of them together
inline constexpr std::size_t kFileNameMax = 1024;

struct WorkingFile {
  std::string name;  // IsWorkingName
  std::uint64_t bytes = 0;
  bool executable = false;
};

// Whether it names a file below a directory, in one way only: no `/` in front, behind or twice, no `.` or `..` in between.
bool IsWorkingName(std::string_view name);

// `declared`: paths separated by ':', directories with all that is below them. Each file once, in the order of their names.
// Empty, or what is wrong with the declaration or with what is there.
std::string ListWorkingFiles(std::string_view declared, std::vector<WorkingFile>* files);

}  // namespace sheaf::runtime
