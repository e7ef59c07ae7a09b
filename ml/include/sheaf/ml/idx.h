// IDX files, the format of the MNIST family of data sets, plain or compressed with gzip.
#pragma once

#include <filesystem>

#include "sheaf/error.h"
#include "sheaf/ml/tensor.h"

namespace sheaf::ml {

// Reads a whole file into shared memory: U8, I8, I16, I32, F32 or F64, up to 8 axes, converted from the file's
// big-endian order. Throws FormatError (damaged, truncated, bytes left over, of another format: the message says what
// and where), Error (cannot be read), OutOfMemoryError. A header that claims more than the file could hold even
// compressed is refused before anything is allocated.
Tensor ReadIdx(const std::filesystem::path& path);

}  // namespace sheaf::ml
