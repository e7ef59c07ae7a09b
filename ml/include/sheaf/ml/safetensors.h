// Weights from and to safetensors files.
#pragma once

#include <filesystem>

#include "sheaf/error.h"
#include "sheaf/ml/weights.h"

namespace sheaf::ml {

// Reads a whole file into shared memory. Any valid file is accepted, aligned or not; the result has this library's
// layout. Throws FormatError (damaged, truncated, of another format: the message says what and where), Error (cannot
// be read), OutOfMemoryError. Nothing is allocated before the header has been checked against the file's size.
Weights ReadSafetensors(const std::filesystem::path& path);

// Writes `weights` so that `path` holds, at every moment and after a crash, either its old content or all of the new:
// into a file beside it, synced, then renamed. Throws Error.
void WriteSafetensors(const Weights& weights, const std::filesystem::path& path);

}  // namespace sheaf::ml
