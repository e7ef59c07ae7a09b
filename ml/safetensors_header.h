// Room: ml. The header of a safetensors image: eight bytes of length, JSON, then the tensors' bytes without holes.
//
// Reading trusts nothing: lengths, offsets, shapes and types are checked against each other before anybody allocates
// or touches a tensor's byte. No runtime in here: plain bytes in, plain values out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "sheaf/ml/tensor_spec.h"

namespace sheaf::ml {

inline constexpr std::uint64_t kHeaderBytesMax = 100'000'000;  // the format's own bound
inline constexpr std::size_t kRankMax = 32;
inline constexpr std::size_t kDataAlignment = 64;
inline constexpr std::uint64_t kLengthBytes = 8;

using Metadata = std::map<std::string, std::string>;

// One tensor's place, in bytes from the beginning of the data.
struct TensorPlace {
  TensorSpec spec;
  std::uint64_t begin = 0, end = 0;
};

struct SafetensorsHeader {
  std::vector<TensorPlace> tensors;  // in the order of their bytes
  Metadata metadata;
  std::uint64_t data_bytes = 0;
};

// Reads the JSON of an image that has `data_bytes` after it. Throws FormatError, whose message begins with `source`.
SafetensorsHeader ParseSafetensorsHeader(std::string_view json, std::uint64_t data_bytes, std::string_view source);

// Places `specs` so that every element is aligned and all float32 values are one run: larger elements first, float32
// before others of its size, else as given. Throws FormatError for duplicate or reserved names.
SafetensorsHeader PlaceTensors(const std::vector<TensorSpec>& specs, Metadata metadata);
// The image up to the data: length and JSON, padded with spaces so that the data begins at a multiple of 64.
std::string WriteSafetensorsHeader(const SafetensorsHeader& header);

}  // namespace sheaf::ml
