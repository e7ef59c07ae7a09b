// A mapped segment of shared memory. Own segments are mapped read-write exactly once, before the pool seals them; all
// others read-only. Mappings do not pass to forked children, so that a child can never write in its parent's name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

namespace sheaf::store {

enum class Access { kReadOnly, kReadWrite };

class Mapping {
 public:
  Mapping() = default;
  // Maps `bytes` of `fd`; an empty mapping (see ok()) with errno set on failure. Does not close `fd`.
  static Mapping Map(int fd, std::uint64_t bytes, Access access);
  Mapping(Mapping&& other) noexcept
      : base_(std::exchange(other.base_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  Mapping& operator=(Mapping&& other) noexcept {
    std::swap(base_, other.base_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~Mapping();

  bool ok() const { return base_ != nullptr; }
  std::byte* base() const { return base_; }
  std::uint64_t bytes() const { return bytes_; }
  // Gives up ownership: the mapping stays until the process ends.
  std::byte* Leak() {
    bytes_ = 0;
    return std::exchange(base_, nullptr);
  }

 private:
  std::byte* base_ = nullptr;
  std::uint64_t bytes_ = 0;
};

}  // namespace sheaf::store
