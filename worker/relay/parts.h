// What travels with a job beside its executable: found and named by the near half, checked by the far half, fetched into the
// cache of copies where it is not yet.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/resource_limits.h"
#include "worker/relay/frame.h"
#include "worker/relay/program_copy.h"

namespace sheaf::relay {

struct TravelPart {
  PartKind kind = PartKind::kLibrary;
  std::string name;  // of a library: without a directory; of a file: below the working directory
  Hash hash{};
  std::uint64_t bytes = 0;
  std::string path;  // where it lies on the driver's machine; empty on the other
};

// The libraries of wire::kLibrariesEnvironment. Empty, or why they cannot travel. `notes`: see HashFile.
std::string FindLibraries(std::string_view packed, const std::string& notes, std::vector<TravelPart>* parts);

// The files of wire::kFilesEnvironment, below this process's working directory. As above.
std::string FindFiles(std::string_view declared, const std::string& notes, std::vector<TravelPart>* parts);

// The body of a kParts frame.
std::string PackParts(const std::vector<TravelPart>& parts);
// Empty, or what is wrong. What passes has names that stay inside of their directory, once each, and sizes in bounds.
std::string UnpackParts(std::string_view body, std::vector<TravelPart>* parts);

// The body of a kLimits frame, likewise.
std::string PackLimits(const std::vector<SoftLimit>& limits);
std::string UnpackLimits(std::string_view body, std::vector<SoftLimit>* limits);

}  // namespace sheaf::relay
