// Names, types and shapes: what a tensor is before it has any bytes.
//
// Standard library only. Everything here is a plain value: copy it, compare it, send it to a task.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sheaf::ml {

// Element types, with the names that safetensors files use for them (F32, BF16, ...).
enum class DType : std::uint8_t { kF64, kI64, kU64, kF32, kI32, kU32, kF16, kBF16, kI16, kU16, kI8, kU8, kBool };

using Shape = std::vector<std::int64_t>;  // extents, outermost first; a scalar has none

std::size_t SizeOf(DType dtype);                       // bytes of one element: 1, 2, 4 or 8
std::string_view NameOf(DType dtype);                  // "F32"
bool ParseDType(std::string_view name, DType* dtype);  // false: no such name

// The product of the extents. Throws FormatError when one is negative or the product does not fit 63 bits.
std::int64_t ElementCount(const Shape& shape);
std::string ToString(const Shape& shape);  // "[784, 128]"

template <class T>
inline constexpr bool kIsElement = false;  // whether a tensor may hold T
template <class T>
inline constexpr DType kDTypeOf = DType::kF32;
#define SHEAF_ML_ELEMENT(type, name)             \
  template <>                                    \
  inline constexpr bool kIsElement<type> = true; \
  template <>                                    \
  inline constexpr DType kDTypeOf<type> = DType::name;
SHEAF_ML_ELEMENT(double, kF64)
SHEAF_ML_ELEMENT(std::int64_t, kI64)
SHEAF_ML_ELEMENT(std::uint64_t, kU64)
SHEAF_ML_ELEMENT(float, kF32)
SHEAF_ML_ELEMENT(std::int32_t, kI32)
SHEAF_ML_ELEMENT(std::uint32_t, kU32)
SHEAF_ML_ELEMENT(std::int16_t, kI16)
SHEAF_ML_ELEMENT(std::uint16_t, kU16)
SHEAF_ML_ELEMENT(std::int8_t, kI8)
SHEAF_ML_ELEMENT(std::uint8_t, kU8)
SHEAF_ML_ELEMENT(bool, kBool)
#undef SHEAF_ML_ELEMENT

struct TensorSpec {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  friend bool operator==(const TensorSpec&, const TensorSpec&) = default;
};

}  // namespace sheaf::ml
