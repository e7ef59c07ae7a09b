// Room: ml. Views by arithmetic on shapes and strides.
//
// Invariant: nothing is read through a Tensor before Bytes() has checked that every element lies inside its block;
// descriptions arrive from other processes and are not trusted.
#include "sheaf/ml/tensor.h"

#include <algorithm>
#include <cstdint>

#include "sheaf/error.h"

namespace sheaf::ml {
namespace {

Shape RowMajor(const Shape& shape) {
  Shape strides(shape.size());
  std::int64_t stride = 1;
  for (std::size_t axis = shape.size(); axis-- > 0;) {
    strides[axis] = stride;
    stride *= std::max<std::int64_t>(shape[axis], 1);
  }
  return strides;
}

std::size_t ByteCount(DType dtype, const Shape& shape) {
  const auto count = static_cast<std::uint64_t>(ElementCount(shape));
  std::uint64_t bytes = 0;
  if (__builtin_mul_overflow(count, SizeOf(dtype), &bytes) || bytes > PTRDIFF_MAX) {
    throw Error("a tensor of shape " + ToString(shape) + " is larger than any address space");
  }
  return static_cast<std::size_t>(bytes);
}

}  // namespace

Tensor::Tensor(DType dtype, Shape shape, Array<std::byte> bytes)
    : bytes_(std::move(bytes)), dtype_(dtype), shape_(std::move(shape)), strides_(RowMajor(shape_)) {
  const std::size_t wanted = ByteCount(dtype_, shape_);
  if (bytes_.size() != wanted) {
    throw Error("Tensor: " + std::string(NameOf(dtype_)) + " of shape " + ToString(shape_) + " takes " +
                std::to_string(wanted) + " bytes, but " + std::to_string(bytes_.size()) + " were given");
  }
}

std::size_t Tensor::size() const { return static_cast<std::size_t>(ElementCount(shape_)); }

bool Tensor::contiguous() const {
  std::int64_t expected = 1;
  for (std::size_t axis = shape_.size(); axis-- > 0;) {
    if (shape_[axis] == 0) return true;
    if (shape_[axis] != 1 && strides_[axis] != expected) return false;
    expected *= shape_[axis];
  }
  return true;
}

const std::byte* Tensor::Bytes(DType wanted, bool need_contiguous) const& {
  if (wanted != dtype_) {
    throw Error("Tensor: the elements are " + std::string(NameOf(dtype_)) + ", but were read as " +
                std::string(NameOf(wanted)));
  }
  if (shape_.size() != strides_.size()) throw Error("Tensor: damaged: as many strides as axes are needed");
  const std::int64_t count = ElementCount(shape_);
  if (count == 0) return nullptr;
  if (need_contiguous && !contiguous()) {
    throw Error("Tensor::span: the tensor of shape " + ToString(shape_) + " with strides " + ToString(strides_) +
                " is not contiguous; read it through view()");
  }
  std::int64_t last = offset_;
  for (std::size_t axis = 0; axis < shape_.size(); ++axis) {
    std::int64_t reach = 0;
    if (strides_[axis] < 0 || __builtin_mul_overflow(shape_[axis] - 1, strides_[axis], &reach) ||
        __builtin_add_overflow(last, reach, &last)) {
      throw Error("Tensor: damaged: strides " + ToString(strides_) + " for shape " + ToString(shape_));
    }
  }
  const std::size_t size = SizeOf(dtype_);
  if (offset_ < 0 || static_cast<std::uint64_t>(last) >= bytes_.size() / size) {
    throw Error("Tensor: damaged: shape " + ToString(shape_) + " reaches beyond its " + std::to_string(bytes_.size()) +
                " bytes");
  }
  const std::byte* data = bytes_.data() + static_cast<std::size_t>(offset_) * size;
  if (reinterpret_cast<std::uintptr_t>(data) % size != 0) {
    throw Error("Tensor: the bytes are not aligned to their elements; copy them with Tensor::Copy");
  }
  return data;
}

Tensor Tensor::Slice(std::size_t begin, std::size_t end) const {
  if (shape_.empty()) throw Error("Tensor::Slice: a scalar has no axis to slice");
  if (begin > end || end > static_cast<std::size_t>(std::max<std::int64_t>(shape_[0], 0))) {
    throw Error("Tensor::Slice: [" + std::to_string(begin) + ", " + std::to_string(end) +
                ") is outside the first axis of " + ToString(shape_));
  }
  Tensor slice = *this;
  slice.shape_[0] = static_cast<std::int64_t>(end - begin);
  if (end > begin) slice.offset_ += static_cast<std::int64_t>(begin) * strides_[0];
  return slice;
}

Tensor Tensor::Reshape(Shape shape) const {
  if (!contiguous()) throw Error("Tensor::Reshape: only a contiguous tensor can be given another shape in place");
  if (ElementCount(shape) != ElementCount(shape_)) {
    throw Error("Tensor::Reshape: " + ToString(shape_) + " and " + ToString(shape) + " differ in elements");
  }
  Tensor result = *this;
  result.strides_ = RowMajor(shape);
  result.shape_ = std::move(shape);
  return result;
}

Tensor Tensor::Transpose(std::size_t a, std::size_t b) const {
  if (a >= shape_.size() || b >= shape_.size()) {
    throw Error("Tensor::Transpose: " + ToString(shape_) + " has no axis " + std::to_string(std::max(a, b)));
  }
  Tensor result = *this;
  std::swap(result.shape_[a], result.shape_[b]);
  std::swap(result.strides_[a], result.strides_[b]);
  return result;
}

TensorBuilder::TensorBuilder(DType dtype, Shape shape)
    : dtype_(dtype), shape_(std::move(shape)), bytes_(ByteCount(dtype_, shape_)) {}

void TensorBuilder::CheckElement(DType wanted) const {
  if (wanted == dtype_) return;
  throw Error("TensorBuilder: the elements are " + std::string(NameOf(dtype_)) + ", but were asked for as " +
              std::string(NameOf(wanted)));
}

Tensor TensorBuilder::Seal() && { return Tensor(dtype_, std::move(shape_), std::move(bytes_).Seal()); }

}  // namespace sheaf::ml
