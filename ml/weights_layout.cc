// Room: ml. The table of layouts. A mutex of this process only guards it; nothing is parsed under it.
#include "ml/weights_layout.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <unordered_map>

#include "sheaf/error.h"

namespace sheaf::ml {
namespace {

constexpr std::size_t kLayoutsMax = 64;

std::shared_ptr<const WeightsLayout> Read(std::string_view json, std::size_t image_bytes) {
  auto layout = std::make_shared<WeightsLayout>();
  layout->data_offset = kLengthBytes + json.size();
  layout->header = ParseSafetensorsHeader(json, image_bytes - layout->data_offset, "weights in memory");
  for (std::size_t i = 0; i < layout->header.tensors.size(); ++i) {
    layout->index.emplace(layout->header.tensors[i].spec.name, i);
  }
  return layout;
}

}  // namespace

const TensorPlace& WeightsLayout::At(std::string_view name) const {
  const auto found = index.find(name);
  if (found != index.end()) return header.tensors[found->second];
  std::string known;
  for (const TensorPlace& tensor : header.tensors) {
    if (known.size() > 300) {
      known += ", ...";
      break;
    }
    known += (known.empty() ? "" : ", ") + tensor.spec.name;
  }
  throw Error("Weights: no tensor is named \"" + std::string(name) +
              "\"; there are: " + (known.empty() ? "none" : known));
}

std::shared_ptr<const WeightsLayout> LayoutOf(std::span<const std::byte> image) {
  if (image.empty()) {
    static const auto none = std::make_shared<const WeightsLayout>();
    return none;
  }
  std::uint64_t length = 0;
  if (image.size() >= kLengthBytes) std::memcpy(&length, image.data(), kLengthBytes);
  if (image.size() < kLengthBytes || length > image.size() - kLengthBytes || length > kHeaderBytesMax) {
    throw FormatError("weights in memory: the image of " + std::to_string(image.size()) +
                      " bytes is too short for its header");
  }
  const std::string_view json(reinterpret_cast<const char*>(image.data()) + kLengthBytes,
                              static_cast<std::size_t>(length));

  static std::mutex mutex;
  static std::unordered_map<std::string, std::shared_ptr<const WeightsLayout>> table;
  {
    const std::lock_guard lock(mutex);
    const auto found = table.find(std::string(json));
    // Two images with one header can still differ in length when one of them is damaged.
    if (found != table.end() && found->second->data_offset + found->second->header.data_bytes == image.size()) {
      return found->second;
    }
  }
  auto layout = Read(json, image.size());
  const std::lock_guard lock(mutex);
  if (table.size() >= kLayoutsMax) table.clear();
  table.insert_or_assign(std::string(json), layout);
  return layout;
}

}  // namespace sheaf::ml
