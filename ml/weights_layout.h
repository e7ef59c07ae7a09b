// Room: ml. What the header of a Weights image says, read once per process and shared by all images with that header.
//
// A training loop makes thousands of images with one header; parsing JSON for each would cost more than the step's
// dispatch. The table is bounded: when full it is emptied, which costs a parse, never an error.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "ml/safetensors_header.h"

namespace sheaf::ml {

struct WeightsLayout {
  SafetensorsHeader header;
  std::uint64_t data_offset = 0;                          // bytes from the image's beginning
  std::map<std::string, std::size_t, std::less<>> index;  // name -> place in header.tensors

  // Throws Error, which lists what there is.
  const TensorPlace& At(std::string_view name) const;
};

// Throws FormatError when the image is damaged. Thread-safe.
std::shared_ptr<const WeightsLayout> LayoutOf(std::span<const std::byte> image);

}  // namespace sheaf::ml
