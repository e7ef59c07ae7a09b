#include "runtime/program.h"

#include <elf.h>
#include <link.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <iterator>

#include "base/limits.h"
#include "proto/local_wire.h"
#include "sheaf/error.h"

namespace sheaf::runtime {
namespace {

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

std::string DescribeProgram(std::uint32_t* arguments, std::uint32_t* environment) {
  char directory[4096] = ".";
  if (!getcwd(directory, sizeof directory)) std::strcpy(directory, ".");
  std::string tail(directory);
  tail.push_back('\0');
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  const std::string line{std::istreambuf_iterator<char>(file), {}};
  for (const char c : line) *arguments += c == '\0';
  tail += line;
  for (char** entry = environ; *entry; ++entry) {
    if (std::strncmp(*entry, "SHEAF_WORKER=", 13) == 0) continue;
    tail += *entry;
    tail.push_back('\0');
    ++*environment;
  }
  if (tail.size() > limits::kWireBytesMax - sizeof(wire::Attach))
    throw InitError("arguments and environment of this program are longer than the 64 KiB that workers can be given");
  return tail;
}

}  // namespace sheaf::runtime
