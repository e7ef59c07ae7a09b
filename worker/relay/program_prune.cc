// What the cache of copies forgets: notes and half-written files that nobody has touched for long, and, where the copies take too much
// room, those that were used longest ago. Any thread and process; they may all prune at once, as each removal is one unlink.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "worker/relay/program_copy.h"

namespace sheaf::relay {
namespace {

constexpr std::int64_t kDay = 86'400, kNoteDays = 30;
constexpr std::size_t kNameSigns = 2 * sizeof(Hash);

struct Copy {
  std::int64_t used;  // when last, in seconds
  std::uint64_t bytes;
  std::string path;
};

bool IsCopy(const std::string& name) {
  return name.size() == kNameSigns && name.find_first_not_of("0123456789abcdef") == std::string::npos;
}

// Names of copies that the libraries of a twin, which may start workers yet, are links to.
std::set<std::string> Linked(const std::string& directory) {
  namespace fs = std::filesystem;
  std::set<std::string> names;
  std::error_code error;
  for (fs::directory_iterator place(directory, error), end; !error && place != end; place.increment(error)) {
    if (!place->path().filename().string().starts_with("job-")) continue;
    std::error_code ignored;
    for (fs::directory_iterator link(place->path() / "libraries", ignored); !ignored && link != end;
         link.increment(ignored)) {
      const fs::path target = fs::read_symlink(link->path(), ignored);
      if (!ignored) names.insert(target.filename());
    }
  }
  return names;
}

}  // namespace

void PruneCopies(const std::string& directory, std::uint64_t most, std::int64_t now) {
  std::vector<Copy> copies;
  std::uint64_t bytes = 0;
  std::error_code error;
  for (std::filesystem::directory_iterator at(directory, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename(), path = at->path();
    struct stat info{};
    if (lstat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) continue;
    const bool draft = name.find(".part-") != std::string::npos;
    if ((draft && now - info.st_mtim.tv_sec > kDay) ||
        (!draft && name.starts_with("hash-") && now - info.st_mtim.tv_sec > kNoteDays * kDay)) {
      unlink(path.c_str());
    } else if (IsCopy(name)) {
      struct stat note{};
      const bool noted = lstat(NoteOf(info, directory).c_str(), &note) == 0;
      const std::int64_t made = info.st_ctim.tv_sec;
      copies.push_back({noted ? std::max<std::int64_t>(made, note.st_mtim.tv_sec) : made,
                        static_cast<std::uint64_t>(info.st_size), path});
      bytes += copies.back().bytes;
    }
  }
  if (bytes <= most) return;
  const std::set<std::string> linked = Linked(directory);
  std::sort(copies.begin(), copies.end(), [](const Copy& a, const Copy& b) { return a.used < b.used; });
  for (const Copy& copy : copies) {
    // Somebody may be about to run it.
    if (bytes <= most || now - copy.used < kDay) break;
    if (linked.contains(std::filesystem::path(copy.path).filename())) continue;
    if (unlink(copy.path.c_str()) == 0) bytes -= copy.bytes;
  }
}

}  // namespace sheaf::relay
