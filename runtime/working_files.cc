#include "runtime/working_files.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <system_error>

namespace sheaf::runtime {
namespace {

namespace fs = std::filesystem;

class Listing {
 public:
  // Empty, or why not. A file may be a link to one, a directory only where it was declared itself.
  std::string Add(const fs::path& path, bool declared) {
    std::error_code error;
    const fs::file_status status = fs::status(path, error);
    if (!fs::exists(status)) return Named(path) + "is not there";
    if (fs::is_directory(status)) {
      if (!declared && fs::is_symlink(fs::symlink_status(path, error)))
        return Named(path) + "is a link to a directory: declare what it leads to";
      return AddFolder(path);
    }
    if (!fs::is_regular_file(status)) return Named(path) + "is neither a file nor a directory";
    WorkingFile file;
    file.name = path.lexically_normal().string();
    if (!IsWorkingName(file.name)) return Named(path) + "has a name that cannot travel";
    file.bytes = fs::file_size(path, error);
    if (error) return Named(path) + "cannot be read: " + error.message();
    file.executable = (status.permissions() & fs::perms::owner_exec) != fs::perms::none;
    if (!files_.emplace(file.name, file).second) return {};
    bytes_ += std::min(file.bytes, kFilesBytesMax + 1);
    if (files_.size() > kFilesMax) return "they are more than " + std::to_string(kFilesMax) + " files";
    if (bytes_ > kFilesBytesMax) return "together they are larger than 1 GiB";
    return {};
  }
  const std::map<std::string, WorkingFile>& files() const { return files_; }

 private:
  static std::string Named(const fs::path& path) { return "\"" + path.string() + "\" "; }
  std::string AddFolder(const fs::path& path) {
    if (++folders_ > kFilesMax) return "they lie in more than " + std::to_string(kFilesMax) + " directories";
    std::error_code error;
    fs::directory_iterator at(path, error);
    for (; !error && at != fs::directory_iterator(); at.increment(error))
      if (std::string why = Add(at->path(), false); !why.empty()) return why;
    return error ? Named(path) + "cannot be read: " + error.message() : std::string();
  }

  std::map<std::string, WorkingFile> files_;
  std::size_t folders_ = 0;
  std::uint64_t bytes_ = 0;
};

}  // namespace

bool IsWorkingName(std::string_view name) {
  if (name.empty() || name.size() > kFileNameMax || name.find('\0') != name.npos) return false;
  for (std::size_t at = 0; at <= name.size();) {
    const std::size_t end = std::min(name.find('/', at), name.size());
    const std::string_view part = name.substr(at, end - at);
    if (part.empty() || part.size() > 255 || part == "." || part == "..") return false;
    at = end + 1;
  }
  return true;
}

std::string ListWorkingFiles(std::string_view declared, std::vector<WorkingFile>* files) {
  Listing listing;
  while (!declared.empty()) {
    const std::size_t end = std::min(declared.find(':'), declared.size());
    const fs::path path(declared.substr(0, end));
    declared.remove_prefix(std::min(end + 1, declared.size()));
    if (path.empty()) continue;
    if (path.is_absolute())
      return "\"" + path.string() + "\" is absolute: name files relative to the working directory";
    if (std::find(path.begin(), path.end(), "..") != path.end())
      return "\"" + path.string() + "\" leaves the working directory";
    if (std::string why = listing.Add(path, true); !why.empty()) return why;
  }
  for (const auto& [name, file] : listing.files()) files->push_back(file);
  return {};
}

}  // namespace sheaf::runtime
