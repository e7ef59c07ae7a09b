#include "runtime/program.h"

#include <elf.h>
#include <link.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <string_view>

#include "base/limits.h"
#include "base/resource_limits.h"
#include "proto/local_wire.h"
#include "runtime/libraries.h"
#include "sheaf/error.h"

namespace sheaf::runtime {
namespace {

constexpr std::size_t kSpare =
    1024;  // of a message, for what is added to a job's environment on the way to its workers

int ReadBuildId(dl_phdr_info* info, std::size_t, void* out) {
  auto* identity = static_cast<std::array<std::uint64_t, 4>*>(out);
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    if (info->dlpi_phdr[i].p_type != PT_NOTE) continue;
    const auto* at = reinterpret_cast<const char*>(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
    const char* end = at + info->dlpi_phdr[i].p_memsz;
    while (at + sizeof(ElfW(Nhdr)) <= end) {
      const auto* note = reinterpret_cast<const ElfW(Nhdr)*>(at);
      const char* name = at + sizeof *note;
      const char* data = name + (note->n_namesz + 3) / 4 * 4;
      if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 && std::memcmp(name, "GNU", 4) == 0) {
        std::memcpy(identity->data(), data, std::min<std::size_t>(note->n_descsz, sizeof *identity));
        return 1;
      }
      at = data + (note->n_descsz + 3) / 4 * 4;
    }
  }
  return 1;  // the executable comes first: look no further
}

}  // namespace

std::array<std::uint64_t, 4> ProgramIdentity() {
  std::array<std::uint64_t, 4> identity{};
  dl_iterate_phdr(ReadBuildId, &identity);
  if (identity[0] != 0) return identity;
  struct stat info{};
  if (stat("/proc/self/exe", &info) == 0) {
    identity = {static_cast<std::uint64_t>(info.st_ino), static_cast<std::uint64_t>(info.st_dev),
                static_cast<std::uint64_t>(info.st_size), static_cast<std::uint64_t>(info.st_mtim.tv_nsec)};
  }
  return identity;
}

std::string DescribeProgram(const std::string& files, std::uint32_t* arguments, std::uint32_t* environment) {
  char directory[4096] = ".";
  if (!getcwd(directory, sizeof directory)) std::strcpy(directory, ".");
  std::string tail(directory);
  tail.push_back('\0');
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  const std::string line{std::istreambuf_iterator<char>(file), {}};
  for (const char c : line) *arguments += c == '\0';
  tail += line;
  const auto add = [&](std::string_view text) {
    tail += text;
    tail.push_back('\0');
    ++*environment;
  };
  for (char** entry = environ; *entry; ++entry) {
    const std::string_view text(*entry);
    if (text.starts_with("SHEAF_WORKER=") || text.starts_with("SHEAF_WORKER_LIMITS=") ||
        text.starts_with(wire::kWorkerNeedsEnvironment) || text.starts_with(wire::kJobEnvironment))
      continue;
    add(text);
  }
  add(std::string(wire::kLimitsEnvironment) + "=" + TextOfSoftLimits(OwnSoftLimits()));
  if (!files.empty()) add(std::string(wire::kFilesEnvironment) + "=" + files);
  constexpr std::size_t kMost = limits::kWireBytesMax - sizeof(wire::Attach) - kSpare;
  if (tail.size() > kMost)
    throw InitError("arguments and environment of this program are longer than the 63 KiB that workers can be given");
  // Only a job that goes elsewhere needs the list: that it is too long is said there.
  const std::string name = std::string(wire::kLibrariesEnvironment) + "=";
  const std::string libraries = PackLibraries(MappedLibraries());
  if (libraries.empty()) return tail;
  if (tail.size() + name.size() + libraries.size() < kMost) {
    add(name + libraries);
  } else {
    add(name + "!the list of its libraries does not fit beside its arguments and environment");
  }
  return tail;
}

}  // namespace sheaf::runtime
