// Room: ml. Single-precision matrix product, row-major, on oneDNN with one thread.
//
// Why one thread: a worker owns one CPU slot; OpenMP teams of several workers on the same cores are slower than
// one thread each (784-512-512-10 on two cores: 21.8 k samples/s with one thread, 7.1 k with two).
#pragma once

#include <cstddef>

namespace sheaf::ml {

// c = op(a) * op(b) + beta * c, where op(a) is m x k, op(b) is k x n, c is m x n with n columns a row.
// lda and ldb are the row lengths of a and b as stored. Throws Error when the library refuses.
void Gemm(bool transpose_a, bool transpose_b, std::size_t m, std::size_t n, std::size_t k, const float* a,
          std::size_t lda, const float* b, std::size_t ldb, float beta, float* c);

}  // namespace sheaf::ml
