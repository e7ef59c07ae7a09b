#include "object_store/mapping.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>

namespace sheaf::store {

Mapping Mapping::Map(int fd, std::uint64_t bytes, Access access) {
  // A peer names the size; the file decides. Touching past its end would be a SIGBUS.
  struct stat info{};
  if (fstat(fd, &info) != 0) return {};
  if (bytes == 0 || static_cast<std::uint64_t>(info.st_size) < bytes) {
    errno = EINVAL;
    return {};
  }
  const int protection = access == Access::kReadWrite ? PROT_READ | PROT_WRITE : PROT_READ;
  // Own pages are in memory already (the pool populated them): enter them into the page table in one go.
  const int populate = access == Access::kReadWrite ? MAP_POPULATE : 0;
  void* base = mmap(nullptr, bytes, protection, MAP_SHARED | populate, fd, 0);
  if (base == MAP_FAILED) return {};
  madvise(base, bytes, MADV_DONTFORK);
  Mapping mapping;
  mapping.base_ = static_cast<std::byte*>(base);
  mapping.bytes_ = bytes;
  return mapping;
}

Mapping::~Mapping() {
  if (base_) munmap(base_, bytes_);
}

}  // namespace sheaf::store
