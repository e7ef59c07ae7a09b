// Room: ml. An open file descriptor with whole reads and writes; errors carry the path and the system's reason.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

namespace sheaf::ml {

class File {
 public:
  static File OpenForReading(const std::filesystem::path& path);   // Error: missing, unreadable, not a regular file
  static File CreateExclusive(const std::filesystem::path& path);  // Error: exists, no permission
  File(File&& other) noexcept;
  File(const File&) = delete;
  File& operator=(File&&) = delete;
  ~File();

  std::uint64_t size() const { return size_; }  // when it was opened
  const std::string& name() const { return name_; }
  int fd() const { return fd_; }
  // Fills `to` from `offset` on. Throws FormatError when the file ends before that.
  void ReadAt(std::uint64_t offset, std::span<std::byte> to) const;
  void Write(std::span<const std::byte> bytes);
  void Sync();
  [[noreturn]] void Fail(const std::string& verb) const;  // with errno's reason

 private:
  File(int fd, std::string name, std::uint64_t size) : fd_(fd), name_(std::move(name)), size_(size) {}
  int fd_;
  std::string name_;
  std::uint64_t size_;
};

}  // namespace sheaf::ml
