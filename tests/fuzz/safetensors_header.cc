// The JSON of a safetensors image, with a length of data that the first eight bytes give.
#include <cstring>

#include "ml/safetensors_header.h"
#include "sheaf/error.h"
#include "tests/fuzz/target.h"

std::vector<std::string> FuzzSeeds() {
  std::vector<std::string> seeds;
  for (const std::string json :
       {R"({"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"__metadata__":{"k":"v"}})",
        R"({"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]},"b":{"dtype":"F64","shape":[2],"data_offsets":[1,17]}})",
        R"({"weight \u00e9\n":{"dtype":"BF16","shape":[1,1,1],"data_offsets":[0,2]}}   )"}) {
    const std::uint64_t bytes = json.find("F32") != json.npos ? 24 : json.find("U8") != json.npos ? 17 : 2;
    std::string seed(sizeof bytes, '\0');
    std::memcpy(seed.data(), &bytes, sizeof bytes);
    seeds.push_back(seed + json);
  }
  return seeds;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::uint64_t bytes = 0;
  if (size < sizeof bytes) return 0;
  std::memcpy(&bytes, data, sizeof bytes);
  const std::string json(reinterpret_cast<const char*>(data) + sizeof bytes, size - sizeof bytes);
  try {
    sheaf::ml::WriteSafetensorsHeader(sheaf::ml::ParseSafetensorsHeader(json, bytes, "fuzz"));
  } catch (const sheaf::Error&) {
  }
  return 0;
}
