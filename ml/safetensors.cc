// Room: ml. Reading is header first, bytes after; writing is temporary file, sync, rename, sync of the folder.
#include "sheaf/ml/safetensors.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <system_error>

#include "ml/file.h"
#include "ml/safetensors_header.h"

namespace sheaf::ml {
namespace {

std::uint64_t LittleEndian(std::span<const std::byte, kLengthBytes> bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = kLengthBytes; i-- > 0;) value = value << 8 | std::to_integer<std::uint64_t>(bytes[i]);
  return value;
}

// Removes the temporary file unless it was renamed.
struct Temporary {
  std::filesystem::path path;
  bool keep = false;
  ~Temporary() {
    std::error_code ignored;
    if (!keep) std::filesystem::remove(path, ignored);
  }
};

}  // namespace

Weights ReadSafetensors(const std::filesystem::path& path) {
  const File file = File::OpenForReading(path);
  std::byte prefix[kLengthBytes];
  if (file.size() < kLengthBytes) {
    throw FormatError(file.name() + ": " + std::to_string(file.size()) +
                      " bytes are too few for a safetensors file; copy or write it again");
  }
  file.ReadAt(0, prefix);
  const std::uint64_t length = LittleEndian(prefix);
  if (length > kHeaderBytesMax || length > file.size() - kLengthBytes) {
    throw FormatError(file.name() + ": the header claims " + std::to_string(length) + " bytes, but the file has " +
                      std::to_string(file.size() - kLengthBytes) +
                      " after its length and the format allows 100 MB; it is damaged or of another format");
  }
  std::string json(static_cast<std::size_t>(length), '\0');
  file.ReadAt(kLengthBytes, std::as_writable_bytes(std::span(json)));
  const std::uint64_t data_offset = kLengthBytes + length;
  const SafetensorsHeader header = ParseSafetensorsHeader(json, file.size() - data_offset, file.name());

  std::vector<TensorSpec> specs;
  for (const TensorPlace& place : header.tensors) specs.push_back(place.spec);
  WeightsBuilder builder(specs, header.metadata);
  for (const TensorPlace& place : header.tensors) {
    file.ReadAt(data_offset + place.begin, builder.bytes(place.spec.name));
  }
  return std::move(builder).Seal();
}

void WriteSafetensors(const Weights& weights, const std::filesystem::path& path) {
  static std::atomic<unsigned> counter{0};
  Temporary temporary{path.string() + ".tmp-" + std::to_string(getpid()) + "-" + std::to_string(++counter)};
  {
    File file = File::CreateExclusive(temporary.path);
    if (weights.empty()) {
      const std::string header = WriteSafetensorsHeader({});
      file.Write(std::as_bytes(std::span(header)));
    } else {
      file.Write(weights.image().span());
    }
    file.Sync();
  }
  std::error_code error;
  std::filesystem::rename(temporary.path, path, error);
  if (error) throw Error("cannot rename " + temporary.path.string() + " to " + path.string() + ": " + error.message());
  temporary.keep = true;
  // The rename itself must survive a power cut. A folder that cannot be opened for reading is left to the system.
  const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : ".";
  const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd >= 0) {
    fsync(fd);
    close(fd);
  }
}

}  // namespace sheaf::ml
