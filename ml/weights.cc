// Room: ml. Weights over an image, and their builder.
//
// Invariant: whatever is handed out lies inside the image; offsets that arrived from another process are checked at
// each use, which costs two comparisons.
#include "sheaf/ml/weights.h"

#include <cstring>

#include "ml/weights_layout.h"
#include "sheaf/error.h"

namespace sheaf::ml {

std::span<const float> Weights::Flat() const& {
  if (flat_size_ == 0) return {};
  if (flat_offset_ % alignof(float) != 0 || flat_offset_ > image_.size() ||
      flat_size_ > (image_.size() - flat_offset_) / sizeof(float)) {
    throw FormatError("weights in memory: damaged: the float32 values reach beyond the image");
  }
  return {reinterpret_cast<const float*>(image_.data() + flat_offset_), static_cast<std::size_t>(flat_size_)};
}

Tensor Weights::operator[](std::string_view name) const {
  const auto layout = LayoutOf(image_.span());
  const TensorPlace& place = layout->At(name);
  return Tensor(place.spec.dtype, place.spec.shape,
                image_.Slice(static_cast<std::size_t>(layout->data_offset + place.begin),
                             static_cast<std::size_t>(layout->data_offset + place.end)));
}

bool Weights::Contains(std::string_view name) const {
  const auto layout = LayoutOf(image_.span());
  return layout->index.find(name) != layout->index.end();
}

std::vector<TensorSpec> Weights::Specs() const {
  std::vector<TensorSpec> specs;
  for (const TensorPlace& place : LayoutOf(image_.span())->header.tensors) specs.push_back(place.spec);
  return specs;
}

std::map<std::string, std::string> Weights::Metadata() const { return LayoutOf(image_.span())->header.metadata; }

WeightsBuilder::Plan WeightsBuilder::MakePlan(const std::vector<TensorSpec>& specs,
                                              std::map<std::string, std::string> metadata) {
  const SafetensorsHeader header = PlaceTensors(specs, std::move(metadata));
  Plan plan{WriteSafetensorsHeader(header), 0, 0, 0};
  plan.image_bytes = plan.header.size() + header.data_bytes;
  for (const TensorPlace& place : header.tensors) {
    if (place.spec.dtype != DType::kF32) continue;
    if (plan.flat_size == 0) plan.flat_offset = plan.header.size() + place.begin;
    plan.flat_size += (place.end - place.begin) / sizeof(float);
  }
  return plan;
}

WeightsBuilder::WeightsBuilder(const std::vector<TensorSpec>& specs, std::map<std::string, std::string> metadata)
    : WeightsBuilder(MakePlan(specs, std::move(metadata))) {}

WeightsBuilder::WeightsBuilder(Plan plan)
    : image_(static_cast<std::size_t>(plan.image_bytes)), flat_offset_(plan.flat_offset), flat_size_(plan.flat_size) {
  std::memcpy(image_.span().data(), plan.header.data(), plan.header.size());
}

WeightsBuilder::WeightsBuilder(const Weights& like)
    : image_(like.image_.size()), flat_offset_(like.flat_offset_), flat_size_(like.flat_size_) {
  const std::size_t flat_bytes = like.Flat().size_bytes();  // checks the offsets
  const auto from = like.image_.span();
  if (from.empty()) return;
  const auto to = image_.span();
  const std::size_t before = static_cast<std::size_t>(flat_bytes ? flat_offset_ : from.size());
  const std::size_t after = flat_bytes ? before + flat_bytes : before;
  std::memcpy(to.data(), from.data(), before);
  std::memcpy(to.data() + after, from.data() + after, from.size() - after);
}

std::span<float> WeightsBuilder::Flat() & {
  if (flat_size_ == 0) return {};
  return {reinterpret_cast<float*>(image_.span().data() + flat_offset_), static_cast<std::size_t>(flat_size_)};
}

std::span<std::byte> WeightsBuilder::bytes(std::string_view name) & {
  const auto layout = LayoutOf(image_.span());
  const TensorPlace& place = layout->At(name);
  return image_.span().subspan(static_cast<std::size_t>(layout->data_offset + place.begin),
                               static_cast<std::size_t>(place.end - place.begin));
}

std::span<std::byte> WeightsBuilder::Room(std::string_view name, DType wanted) & {
  const auto layout = LayoutOf(image_.span());
  const TensorPlace& place = layout->At(name);
  if (place.spec.dtype != wanted) {
    throw Error("WeightsBuilder: \"" + std::string(name) + "\" holds " + std::string(NameOf(place.spec.dtype)) +
                ", but was asked for as " + std::string(NameOf(wanted)));
  }
  return bytes(name);
}

Weights WeightsBuilder::Seal() && {
  Weights weights;
  weights.image_ = std::move(image_).Seal();
  weights.flat_offset_ = flat_offset_;
  weights.flat_size_ = flat_size_;
  return weights;
}

}  // namespace sheaf::ml
