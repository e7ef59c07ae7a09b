// Room: ml. Element types by name and size, and the arithmetic of shapes.
#include "sheaf/ml/tensor_spec.h"

#include <array>

#include "sheaf/error.h"

namespace sheaf::ml {
namespace {

struct DTypeRow {
  DType dtype;
  std::string_view name;
  std::size_t size;
};
constexpr std::array<DTypeRow, 13> kDTypes = {{{DType::kF64, "F64", 8},
                                               {DType::kI64, "I64", 8},
                                               {DType::kU64, "U64", 8},
                                               {DType::kF32, "F32", 4},
                                               {DType::kI32, "I32", 4},
                                               {DType::kU32, "U32", 4},
                                               {DType::kF16, "F16", 2},
                                               {DType::kBF16, "BF16", 2},
                                               {DType::kI16, "I16", 2},
                                               {DType::kU16, "U16", 2},
                                               {DType::kI8, "I8", 1},
                                               {DType::kU8, "U8", 1},
                                               {DType::kBool, "BOOL", 1}}};

// A value that came from another process may hold any byte.
const DTypeRow& Row(DType dtype) {
  const auto index = static_cast<std::size_t>(dtype);
  if (index >= kDTypes.size()) throw FormatError("no element type has the number " + std::to_string(index));
  return kDTypes[index];
}

}  // namespace

std::size_t SizeOf(DType dtype) { return Row(dtype).size; }
std::string_view NameOf(DType dtype) { return Row(dtype).name; }

bool ParseDType(std::string_view name, DType* dtype) {
  for (const DTypeRow& row : kDTypes) {
    if (row.name == name) {
      *dtype = row.dtype;
      return true;
    }
  }
  return false;
}

std::int64_t ElementCount(const Shape& shape) {
  std::int64_t count = 1;
  for (const std::int64_t extent : shape) {
    if (extent < 0 || __builtin_mul_overflow(count, extent, &count)) {
      throw FormatError("the shape " + ToString(shape) + " has a negative extent or more than 2^63 elements");
    }
  }
  return count;
}

std::string ToString(const Shape& shape) {
  std::string text = "[";
  for (const std::int64_t extent : shape) {
    if (text.size() > 1) text += ", ";
    text += std::to_string(extent);
  }
  return text + "]";
}

}  // namespace sheaf::ml
