// Values in their stored form: what a worker of another build, or a damaged segment, could hand over.
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <variant>
#include <vector>

#include "sheaf/sheaf.h"
#include "tests/fuzz/target.h"

namespace {

struct Record {
  std::string name;
  std::optional<int> maybe;
  std::variant<int, std::string> either;
  std::vector<std::string> words;
  std::map<std::string, std::vector<int>> index;
};
using Value = std::tuple<Record, std::vector<double>, std::string>;

template <class T>
std::string Stored(const T& value) {
  sheaf::detail::Encoder to;
  sheaf::detail::Store(to, value);
  return {reinterpret_cast<const char*>(to.payload().data()), to.payload().size()};
}

template <class T>
void Decode(std::span<const std::byte> payload, std::uint32_t element) {
  try {
    sheaf::detail::DecodeStored<T>({payload, {}, element});
  } catch (const sheaf::Error&) {
  }
}

}  // namespace

std::vector<std::string> FuzzSeeds() {
  const Record record{"name", 7, "either", {"a", "bc", ""}, {{"k", {1, 2}}, {"l", {}}}};
  return {Stored(record), Stored(Value{record, {1, 2, 3}, "text"}), Stored(std::vector<std::string>{"x", "yy"})};
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // Payloads are 16-byte aligned; on the heap, of exactly this size.
  const std::unique_ptr<std::byte, decltype(&std::free)> copy(static_cast<std::byte*>(std::malloc(size + 1)),
                                                              &std::free);
  if (size) std::memcpy(copy.get(), data, size);
  const std::span<const std::byte> payload(copy.get(), size);
  Decode<Record>(payload, sheaf::detail::kWhole);
  Decode<Value>(payload, sheaf::detail::kWhole);
  Decode<std::vector<double>>(payload, static_cast<std::uint32_t>(size % 4));
  Decode<std::vector<std::string>>(payload, sheaf::detail::kWhole);
  return 0;
}
