// Weights: named tensors in one flat block of shared memory, laid out as a safetensors file.
//
// File, object and what an aggregation adds up are the same bytes: the block begins with the format's header, the data
// begins at a multiple of 64, elements are aligned, and all float32 values form one run, Flat(). A Weights is a handle;
// copies and tensors taken from it share the block, and sending it to a task sends the handle.
// Thread-safety: as std::shared_ptr<const T>. Standard library only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "sheaf/array.h"
#include "sheaf/ml/tensor.h"
#include "sheaf/ml/tensor_spec.h"

namespace sheaf::ml {

class Weights {
 public:
  Weights() = default;  // no tensors

  // All float32 values, tensor after tensor, in place and 64-byte aligned unless 8-byte elements precede them.
  std::span<const float> Flat() const&;
  void Flat() const&& = delete;

  // The tensor of that name, in place. Throws Error, which lists what there is.
  Tensor operator[](std::string_view name) const;
  bool Contains(std::string_view name) const;
  std::vector<TensorSpec> Specs() const;  // in the order of the bytes
  std::map<std::string, std::string> Metadata() const;
  bool empty() const { return image_.empty(); }
  // Header and data: the bytes of a safetensors file.
  const Array<std::byte>& image() const& { return image_; }
  void image() const&& = delete;

  static auto Fields(auto& self) { return std::tie(self.image_, self.flat_offset_, self.flat_size_); }

 private:
  friend class WeightsBuilder;
  Array<std::byte> image_;
  std::uint64_t flat_offset_ = 0, flat_size_ = 0;  // bytes into the image, number of floats
};

// Private, writable weights of a fixed layout. Seal() makes them Weights without a copy.
class WeightsBuilder {
 public:
  // Throws FormatError (duplicate or reserved names, shapes), OutOfMemoryError. Values are unspecified: write them all.
  explicit WeightsBuilder(const std::vector<TensorSpec>& specs, std::map<std::string, std::string> metadata = {});
  // The same names, shapes and metadata as `like`. Only float32 values are left unspecified; others are copied.
  explicit WeightsBuilder(const Weights& like);

  std::span<float> Flat() &;
  void Flat() && = delete;
  // One tensor's room. Throws Error when there is no such name or T is not its element type.
  template <class T>
  std::span<T> span(std::string_view name) & {
    static_assert(kIsElement<T>, "sheaf: no tensor has elements of this type");
    const auto bytes = Room(name, kDTypeOf<T>);
    return {reinterpret_cast<T*>(bytes.data()), bytes.size() / sizeof(T)};
  }
  template <class T>
  void span(std::string_view name) && = delete;
  std::span<std::byte> bytes(std::string_view name) &;
  Weights Seal() &&;

 private:
  struct Plan {  // where the data begins, and the image's size
    std::string header;
    std::uint64_t flat_offset, flat_size, image_bytes;
  };
  static Plan MakePlan(const std::vector<TensorSpec>& specs, std::map<std::string, std::string> metadata);
  explicit WeightsBuilder(Plan plan);
  std::span<std::byte> Room(std::string_view name, DType wanted) &;

  ArrayBuilder<std::byte> image_;
  std::uint64_t flat_offset_, flat_size_;
};

}  // namespace sheaf::ml
