#include "runtime/libraries.h"

#include <link.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

namespace sheaf::runtime {
namespace {

int AddName(dl_phdr_info* info, std::size_t, void* out) {
  // The executable has no name here, and the kernel's own library has no directory.
  const std::string_view name(info->dlpi_name ? info->dlpi_name : "");
  if (name.find('/') != name.npos) static_cast<std::vector<std::string>*>(out)->emplace_back(name);
  return 0;
}

}  // namespace

bool IsSystemLibrary(std::string_view path) {
  for (const std::string_view root : {"/", "/usr/"})
    for (const std::string_view folder : {"lib/", "lib32/", "lib64/", "libx32/"})
      if (path.starts_with(root) && path.substr(root.size()).starts_with(folder)) return true;
  return false;
}

std::vector<std::string> MappedLibraries() {
  std::vector<std::string> names, paths;
  dl_iterate_phdr(AddName, &names);
  for (const std::string& name : names) {
    std::error_code error;
    // The text alone decides: a link keeps the name by which it was asked for.
    const std::string path = std::filesystem::absolute(name, error).lexically_normal().string();
    if (error || IsSystemLibrary(path)) continue;
    if (std::find(paths.begin(), paths.end(), path) == paths.end()) paths.push_back(path);
  }
  return paths;
}

std::string PackLibraries(const std::vector<std::string>& paths) {
  if (paths.size() > kLibrariesMax)
    return "!it maps " + std::to_string(paths.size()) + " libraries from outside the system's directories, and " +
           std::to_string(kLibrariesMax) + " travel with a job at most";
  std::string text, current;
  for (const std::string& path : paths) {
    const std::size_t name = path.rfind('/') + 1;
    if (path.find('\n') != path.npos || name == path.size()) return "!a library has an impossible name: " + path;
    if (const std::string directory = path.substr(0, name); directory != current) {
      text += directory + "\n";
      current = directory;
    }
    text += path.substr(name) + "\n";
  }
  return text;
}

std::string UnpackLibraries(std::string_view text, std::vector<std::string>* paths) {
  if (text.starts_with('!')) return std::string(text.substr(1));
  std::string directory;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('/')) {
      directory = line;
    } else if (directory.empty() || line.empty() || line.find('/') != line.npos || paths->size() == kLibrariesMax) {
      return "the list of its libraries makes no sense";
    } else {
      paths->push_back(directory + std::string(line));
    }
  }
  return {};
}

}  // namespace sheaf::runtime
