// IDX files, plain and compressed.
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

#include "base/check.h"
#include "sheaf/ml/idx.h"
#include "tests/fuzz/target.h"

namespace {

std::string Zipped(const std::string& plain) {
  z_stream stream{};
  SHEAF_CHECK(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  std::string zipped(plain.size() + 256, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(plain.data()));
  stream.avail_in = static_cast<uInt>(plain.size());
  stream.next_out = reinterpret_cast<Bytef*>(zipped.data());
  stream.avail_out = static_cast<uInt>(zipped.size());
  SHEAF_CHECK(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  zipped.resize(stream.total_out);
  deflateEnd(&stream);
  return zipped;
}

}  // namespace

std::vector<std::string> FuzzSeeds() {
  const std::string bytes = std::string("\0\0\x08\x02\0\0\0\x02\0\0\0\x03", 12) + "abcdef";
  const std::string floats = std::string("\0\0\x0d\x01\0\0\0\x01", 8) + std::string("\x3f\x80\0\0", 4);
  return {bytes, floats, Zipped(bytes), Zipped(floats)};
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const int file = memfd_create("fuzz", 0);
  SHEAF_CHECK(file >= 0 && write(file, data, size) == static_cast<ssize_t>(size));
  try {
    sheaf::ml::ReadIdx("/proc/self/fd/" + std::to_string(file));
  } catch (const sheaf::Error&) {
  }
  close(file);
  return 0;
}
