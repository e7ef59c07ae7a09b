#include "worker/relay/parts.h"

#include <fcntl.h>

#include <cerrno>
#include <cstring>
#include <set>
#include <utility>

#include "runtime/libraries.h"
#include "runtime/working_files.h"

namespace sheaf::relay {
namespace {

std::string Measure(const std::string& what, const std::string& notes, TravelPart* part) {
  const Fd file(open(part->path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!file) return what + " " + part->path + " cannot be read: " + std::strerror(errno);
  if (!HashFile(file.get(), notes, &part->hash, &part->bytes)) return what + " " + part->path + " cannot be read";
  return {};
}

bool IsLibraryName(std::string_view name) {
  return !name.empty() && name.size() <= kLibraryNameMax && name != "." && name != ".." &&
         name.find('/') == name.npos && name.find('\0') == name.npos && name.find('\n') == name.npos;
}

}  // namespace

std::string FindLibraries(std::string_view packed, const std::string& notes, std::vector<TravelPart>* parts) {
  std::vector<std::string> paths;
  if (const std::string why = runtime::UnpackLibraries(packed, &paths); !why.empty()) return why;
  std::set<std::string> names;
  for (std::string& path : paths) {
    TravelPart part;
    part.name = path.substr(path.rfind('/') + 1);
    // Of two with one name the linker over there would find the first, too.
    if (!names.insert(part.name).second) continue;
    part.path = std::move(path);
    if (std::string why = Measure("the library", notes, &part); !why.empty()) return why;
    parts->push_back(std::move(part));
  }
  return {};
}

std::string FindFiles(std::string_view declared, const std::string& notes, std::vector<TravelPart>* parts) {
  std::vector<runtime::WorkingFile> files;
  if (std::string why = runtime::ListWorkingFiles(declared, &files); !why.empty()) return why;
  for (runtime::WorkingFile& file : files) {
    TravelPart part;
    part.kind = file.executable ? PartKind::kExecutableFile : PartKind::kFile;
    part.path = part.name = std::move(file.name);
    if (std::string why = Measure("the file", notes, &part); !why.empty()) return why;
    parts->push_back(std::move(part));
  }
  return {};
}

std::string PackParts(const std::vector<TravelPart>& parts) {
  std::string body;
  for (const TravelPart& one : parts) {
    Part part{};
    part.kind = one.kind;
    part.name_bytes = static_cast<std::uint32_t>(one.name.size());
    part.bytes = one.bytes;
    std::memcpy(part.hash, one.hash.data(), one.hash.size());
    body.append(reinterpret_cast<const char*>(&part), sizeof part);
    body += one.name;
  }
  return body;
}

std::string UnpackParts(std::string_view body, std::vector<TravelPart>* parts) {
  std::set<std::string> libraries, files;
  std::uint64_t libraries_left = kLibrariesBytesMax, files_left = runtime::kFilesBytesMax;
  while (!body.empty()) {
    Part part{};
    if (body.size() < sizeof part) return "a list of parts that is cut off";
    std::memcpy(&part, body.data(), sizeof part);
    body.remove_prefix(sizeof part);
    if (part.name_bytes > body.size()) return "a list of parts that is cut off";
    TravelPart one;
    one.kind = part.kind;
    one.name = body.substr(0, part.name_bytes);
    body.remove_prefix(part.name_bytes);
    one.bytes = part.bytes;
    std::memcpy(one.hash.data(), part.hash, one.hash.size());
    if (one.kind == PartKind::kLibrary) {
      if (!IsLibraryName(one.name)) return "a library with an impossible name";
      if (!libraries.insert(one.name).second) return "two libraries of one name";
      if (libraries.size() > runtime::kLibrariesMax) return "more libraries than travel with a job";
      if (one.bytes == 0 || one.bytes > libraries_left) return "libraries whose sizes are out of bounds";
      libraries_left -= one.bytes;
    } else if (one.kind == PartKind::kFile || one.kind == PartKind::kExecutableFile) {
      if (!runtime::IsWorkingName(one.name)) return "a file with an impossible name";
      if (!files.insert(one.name).second) return "two files of one name";
      if (files.size() > runtime::kFilesMax) return "more files than travel with a job";
      if (one.bytes > files_left) return "files whose sizes are out of bounds";
      files_left -= one.bytes;
    } else {
      return "a part of no known kind";
    }
    parts->push_back(std::move(one));
  }
  return {};
}

std::string PackLimits(const std::vector<SoftLimit>& limits) {
  std::string body;
  for (const SoftLimit& one : limits) {
    const Limit limit{one.resource, 0, one.soft};
    body.append(reinterpret_cast<const char*>(&limit), sizeof limit);
  }
  return body;
}

std::string UnpackLimits(std::string_view body, std::vector<SoftLimit>* limits) {
  for (; body.size() >= sizeof(Limit); body.remove_prefix(sizeof(Limit))) {
    Limit limit{};
    std::memcpy(&limit, body.data(), sizeof limit);
    limits->push_back({limit.resource, limit.soft});
  }
  if (!body.empty()) return "a list of limits that is cut off";
  return AreSoftLimits(*limits) ? std::string() : "limits of no known resource, or twice of one";
}

}  // namespace sheaf::relay
