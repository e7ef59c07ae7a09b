// Room: ml. IDX: two zero bytes, a type byte, the rank, big-endian extents, then the elements.
//
// The stream comes through zlib's gz functions, which pass an uncompressed file through unchanged.
#include "sheaf/ml/idx.h"

#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "ml/file.h"

namespace sheaf::ml {
namespace {

constexpr std::uint64_t kDeflateRatioMax = 1100;  // deflate cannot exceed 1032 : 1
constexpr unsigned kIdxRankMax = 8;

class IdxStream {
 public:
  explicit IdxStream(const File& file) : file_(file) {
    const int fd = dup(file.fd());
    if (fd < 0) file.Fail("open");
    stream_.reset(gzdopen(fd, "rb"));
    if (!stream_) {
      close(fd);
      throw Error("cannot read " + file.name() + ": zlib has no memory");
    }
    gzbuffer(stream_.get(), 1 << 18);
  }

  void Read(std::span<std::byte> to, const char* what) {
    while (!to.empty()) {
      const auto chunk = static_cast<unsigned>(std::min<std::size_t>(to.size(), 1 << 28));
      const int got = gzread(stream_.get(), to.data(), chunk);
      if (got <= 0) FailRead(what, to.size());
      to = to.subspan(static_cast<std::size_t>(got));
      at_ += static_cast<std::uint64_t>(got);
    }
  }

  // Also verifies the checksum that follows compressed data.
  void ExpectEnd() {
    std::byte extra;
    const int got = gzread(stream_.get(), &extra, 1);
    if (got < 0) FailRead("the checksum", 0);
    if (got > 0) {
      throw FormatError(file_.name() + ": bytes are left over after byte " + std::to_string(at_) +
                        ", where the header says the data ends; the file is damaged or of another format");
    }
    // zlib reports a stream cut inside its trailer only when it is closed.
    if (gzclose(stream_.release()) != Z_OK) {
      throw FormatError(file_.name() + ": the compressed stream is truncated in its trailer; copy the file again");
    }
  }

 private:
  [[noreturn]] void FailRead(const char* what, std::size_t missing) {
    int code = Z_OK;
    const std::string reason = gzerror(stream_.get(), &code);
    std::string message = file_.name() + ": ";
    if (code == Z_OK || code == Z_BUF_ERROR) {
      message += "the file ends " + std::to_string(missing) + " bytes short, inside " + what;
    } else {
      message += "the compressed data is damaged inside " + std::string(what) + " (" + reason + ")";
    }
    throw FormatError(message + "; copy or download it again");
  }

  struct Close {
    void operator()(gzFile_s* stream) const { gzclose(stream); }
  };
  const File& file_;
  std::unique_ptr<gzFile_s, Close> stream_;
  std::uint64_t at_ = 0;
};

bool TypeOf(unsigned code, DType* dtype) {
  switch (code) {
    case 0x08:
      *dtype = DType::kU8;
      return true;
    case 0x09:
      *dtype = DType::kI8;
      return true;
    case 0x0B:
      *dtype = DType::kI16;
      return true;
    case 0x0C:
      *dtype = DType::kI32;
      return true;
    case 0x0D:
      *dtype = DType::kF32;
      return true;
    case 0x0E:
      *dtype = DType::kF64;
      return true;
    default:
      return false;
  }
}

}  // namespace

Tensor ReadIdx(const std::filesystem::path& path) {
  const File file = File::OpenForReading(path);
  IdxStream stream(file);
  const auto fail = [&](const std::string& why) { return FormatError(file.name() + ": not an IDX file: " + why); };

  std::byte magic[4];
  stream.Read(magic, "the first four bytes");
  DType dtype = DType::kU8;
  if (magic[0] != std::byte{0} || magic[1] != std::byte{0}) {
    throw fail("it does not begin with two zero bytes; expected train-images-idx3-ubyte.gz or the like");
  }
  const auto type_code = std::to_integer<unsigned>(magic[2]), rank = std::to_integer<unsigned>(magic[3]);
  if (!TypeOf(type_code, &dtype)) throw fail("the element type " + std::to_string(type_code) + " does not exist");
  if (rank == 0 || rank > kIdxRankMax) {
    throw fail("it claims " + std::to_string(rank) + " axes; 1 to " + std::to_string(kIdxRankMax) + " are read");
  }
  Shape shape;
  for (unsigned axis = 0; axis < rank; ++axis) {
    std::byte extent[4];
    stream.Read(extent, "the header");
    std::int64_t value = 0;
    for (const std::byte digit : extent) value = value << 8 | std::to_integer<std::int64_t>(digit);
    shape.push_back(value);
  }
  const std::size_t size = SizeOf(dtype);
  std::uint64_t count = 0;
  try {
    count = static_cast<std::uint64_t>(ElementCount(shape));
  } catch (const FormatError& error) {
    throw fail(error.what());
  }
  // Divisions, not products: the claims are anybody's.
  if (count / kDeflateRatioMax / size > file.size()) {
    throw fail("its header claims " + ToString(shape) + " elements, more than " + std::to_string(file.size()) +
               " bytes can hold");
  }

  TensorBuilder builder(dtype, shape);
  const auto bytes = builder.bytes();
  stream.Read(bytes, "the elements");
  stream.ExpectEnd();
  if (size > 1) {
    for (std::size_t at = 0; at < bytes.size(); at += size) std::reverse(&bytes[at], &bytes[at] + size);
  }
  return std::move(builder).Seal();
}

}  // namespace sheaf::ml
