// Tensor: an immutable n-dimensional array in shared memory, and TensorBuilder, which makes one in place.
//
// A Tensor is a handle: it names a block of the store and says how to read it (element type, shape, strides). Copies,
// slices and transposes share the bytes, and sending one to a task sends the description only. The bytes live as long
// as any handle on them, in any process.
// Thread-safety: as std::shared_ptr<const T[]>. Standard library only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#include "sheaf/array.h"
#include "sheaf/error.h"
#include "sheaf/ml/tensor_spec.h"

namespace sheaf::ml {

// Reads elements of a tensor by their indices: view(row, column). Valid while the tensor that gave it is.
template <class T>
class TensorView {
 public:
  TensorView(T* data, Shape shape, Shape strides)
      : data_(data), shape_(std::move(shape)), strides_(std::move(strides)) {}
  const Shape& shape() const { return shape_; }
  const Shape& strides() const { return strides_; }  // in elements
  T* data() const { return data_; }
  // Unchecked, as many indices as there are axes.
  template <class... Index>
  T& operator()(Index... index) const {
    std::size_t axis = 0;
    std::int64_t offset = 0;
    ((offset += static_cast<std::int64_t>(index) * strides_[axis++]), ...);
    return data_[offset];
  }

 private:
  T* data_;
  Shape shape_, strides_;
};

class Tensor {
 public:
  Tensor() = default;  // F32, shape {0}
  // Wraps `bytes`: row-major, exactly ElementCount(shape) elements. Throws Error when the sizes differ.
  Tensor(DType dtype, Shape shape, Array<std::byte> bytes);
  // Copies `values` into shared memory. Throws Error when their number is not ElementCount(shape), OutOfMemoryError.
  template <class T>
  static Tensor Copy(Shape shape, std::span<const T> values);

  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  const Shape& strides() const { return strides_; }  // in elements
  std::size_t rank() const { return shape_.size(); }
  std::size_t size() const;  // elements
  bool contiguous() const;   // row-major without gaps

  // All elements in row-major order, in place. Throws Error unless T is the element type and the tensor is contiguous.
  template <class T>
  std::span<const T> span() const& {
    static_assert(kIsElement<T>, "sheaf: no tensor has elements of this type");
    return {reinterpret_cast<const T*>(Bytes(kDTypeOf<T>, true)), size()};
  }
  template <class T>
  void span() const&& = delete;
  // The same for any strides.
  template <class T>
  TensorView<const T> view() const& {
    static_assert(kIsElement<T>, "sheaf: no tensor has elements of this type");
    return {reinterpret_cast<const T*>(Bytes(kDTypeOf<T>, false)), shape_, strides_};
  }
  template <class T>
  void view() const&& = delete;

  // Rows [begin, end) of the first axis, in place. Throws Error when out of range or without an axis.
  Tensor Slice(std::size_t begin, std::size_t end) const;
  // The same elements under another shape, in place. Throws Error when the counts differ or when not contiguous.
  Tensor Reshape(Shape shape) const;
  // The same elements with two axes exchanged, in place.
  Tensor Transpose(std::size_t a, std::size_t b) const;

  static auto Fields(auto& self) {
    return std::tie(self.bytes_, self.dtype_, self.shape_, self.strides_, self.offset_);
  }

 private:
  // Checks everything that a description from another process could have wrong.
  const std::byte* Bytes(DType wanted, bool need_contiguous) const&;

  Array<std::byte> bytes_;
  DType dtype_ = DType::kF32;
  Shape shape_ = {0}, strides_ = {1};
  std::int64_t offset_ = 0;  // elements into bytes_
};

// A private, writable tensor, row-major, its first element 64-byte aligned. Seal() makes it a Tensor without a copy.
class TensorBuilder {
 public:
  // Elements of unspecified value: write every one. Throws FormatError (shape), OutOfMemoryError.
  TensorBuilder(DType dtype, Shape shape);
  // Throws Error unless T is the element type.
  template <class T>
  std::span<T> span() & {
    static_assert(kIsElement<T>, "sheaf: no tensor has elements of this type");
    CheckElement(kDTypeOf<T>);
    const auto bytes = bytes_.span();
    return {reinterpret_cast<T*>(bytes.data()), bytes.size() / sizeof(T)};
  }
  template <class T>
  void span() && = delete;
  std::span<std::byte> bytes() & { return bytes_.span(); }
  void bytes() && = delete;
  Tensor Seal() &&;

 private:
  void CheckElement(DType wanted) const;

  DType dtype_;
  Shape shape_;
  ArrayBuilder<std::byte> bytes_;
};

template <class T>
Tensor Tensor::Copy(Shape shape, std::span<const T> values) {
  TensorBuilder builder(kDTypeOf<T>, std::move(shape));
  const auto room = builder.span<T>();
  if (room.size() != values.size()) {
    throw Error("Tensor::Copy: " + std::to_string(values.size()) + " values for a shape of " +
                std::to_string(room.size()) + " elements");
  }
  for (std::size_t i = 0; i < values.size(); ++i) room[i] = values[i];
  return std::move(builder).Seal();
}

}  // namespace sheaf::ml
