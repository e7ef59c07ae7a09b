// Room: ml. The bodies of kernels.h, included once per instruction set by kernels_<isa>.cc with SHEAF_ISA defined
// as that set's name. Deliberately not a header that others may include: everything is in an unnamed namespace, so
// that the linker can never pick one set's copy for another.
#include <cstddef>
#include <cstdint>

#include "ml/kernels.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace sheaf::ml {
namespace {

// Arrays are walked in pieces that stay in the first-level cache while several sources are folded in.
constexpr std::size_t kPiece = 2048;
// From here on a destination does not fit the cache together with its sources: write past it.
constexpr std::size_t kStreamFloats = (std::size_t{8} << 20) / sizeof(float);

inline void CopyOut(const float* piece, float* out, std::size_t n, bool stream) {
#if defined(__SSE2__)
  if (stream && reinterpret_cast<std::uintptr_t>(out) % 64 == 0) {
    std::size_t i = 0;
#if defined(__AVX512F__)
    for (; i + 16 <= n; i += 16) _mm512_stream_ps(out + i, _mm512_loadu_ps(piece + i));
#elif defined(__AVX__)
    for (; i + 8 <= n; i += 8) _mm256_stream_ps(out + i, _mm256_loadu_ps(piece + i));
#else
    for (; i + 4 <= n; i += 4) _mm_stream_ps(out + i, _mm_loadu_ps(piece + i));
#endif
    for (; i < n; ++i) out[i] = piece[i];
    return;
  }
#endif
  (void)stream;
  for (std::size_t i = 0; i < n; ++i) out[i] = piece[i];
}

// Streaming stores are weakly ordered: without the fence a reader could see the publication before the bytes.
inline void FenceStreams(bool stream) {
#if defined(__SSE2__)
  if (stream) _mm_sfence();
#endif
  (void)stream;
}

void WeightedSum(const float* const* a, const float* s, std::size_t arrays, float* out, std::size_t n) {
  const bool stream = n >= kStreamFloats;
  alignas(64) float piece[kPiece];
  for (std::size_t at = 0; at < n; at += kPiece) {
    const std::size_t m = n - at < kPiece ? n - at : kPiece;
    const float* first = a[0] + at;
    const float s0 = s[0];
    for (std::size_t i = 0; i < m; ++i) piece[i] = first[i] * s0;
    for (std::size_t k = 1; k < arrays; ++k) {
      const float* next = a[k] + at;
      const float sk = s[k];
      for (std::size_t i = 0; i < m; ++i) piece[i] = piece[i] + next[i] * sk;
    }
    CopyOut(piece, out + at, m, stream);
  }
  FenceStreams(stream);
}

void ScaledSum(const float* const* a, std::size_t arrays, float scale, float* out, std::size_t n) {
  const bool stream = n >= kStreamFloats;
  alignas(64) float piece[kPiece];
  for (std::size_t at = 0; at < n; at += kPiece) {
    const std::size_t m = n - at < kPiece ? n - at : kPiece;
    const float* first = a[0] + at;
    if (arrays == 1) {
      for (std::size_t i = 0; i < m; ++i) piece[i] = first[i] * scale;
    } else {
      const float* second = a[1] + at;
      if (arrays == 2) {
        for (std::size_t i = 0; i < m; ++i) piece[i] = (first[i] + second[i]) * scale;
      } else {
        for (std::size_t i = 0; i < m; ++i) piece[i] = first[i] + second[i];
        for (std::size_t k = 2; k + 1 < arrays; ++k) {
          const float* next = a[k] + at;
          for (std::size_t i = 0; i < m; ++i) piece[i] += next[i];
        }
        const float* last = a[arrays - 1] + at;
        for (std::size_t i = 0; i < m; ++i) piece[i] = (piece[i] + last[i]) * scale;
      }
    }
    CopyOut(piece, out + at, m, stream);
  }
  FenceStreams(stream);
}

void Sgd(const float* const* g, std::size_t arrays, float scale, float rate, float momentum, float decay,
         const float* w, const float* v, float* w_out, float* v_out, std::size_t n) {
  alignas(64) float d[kPiece];
  for (std::size_t at = 0; at < n; at += kPiece) {
    const std::size_t m = n - at < kPiece ? n - at : kPiece;
    const float* first = g[0] + at;
    if (arrays == 1) {
      for (std::size_t i = 0; i < m; ++i) d[i] = first[i] * scale;
    } else {
      const float* second = g[1] + at;
      for (std::size_t i = 0; i < m; ++i) d[i] = first[i] + second[i];
      for (std::size_t k = 2; k < arrays; ++k) {
        const float* next = g[k] + at;
        for (std::size_t i = 0; i < m; ++i) d[i] += next[i];
      }
      for (std::size_t i = 0; i < m; ++i) d[i] *= scale;
    }
    const float* wi = w + at;
    float* wo = w_out + at;
    if (decay != 0) {
      for (std::size_t i = 0; i < m; ++i) d[i] += decay * wi[i];
    }
    if (momentum != 0) {
      const float* vi = v + at;
      float* vo = v_out + at;
      for (std::size_t i = 0; i < m; ++i) {
        const float next = momentum * vi[i] + d[i];
        vo[i] = next;
        wo[i] = wi[i] - rate * next;
      }
    } else {
      for (std::size_t i = 0; i < m; ++i) wo[i] = wi[i] - rate * d[i];
    }
  }
}

void BiasRelu(float* h, const float* bias, std::size_t rows, std::size_t columns) {
  for (std::size_t r = 0; r < rows; ++r) {
    float* row = h + r * columns;
    for (std::size_t c = 0; c < columns; ++c) {
      const float value = row[c] + bias[c];
      row[c] = value > 0 ? value : 0;
    }
  }
}

void BiasAdd(float* h, const float* bias, std::size_t rows, std::size_t columns) {
  for (std::size_t r = 0; r < rows; ++r) {
    float* row = h + r * columns;
    for (std::size_t c = 0; c < columns; ++c) row[c] += bias[c];
  }
}

void ColumnSum(const float* d, float* out, std::size_t rows, std::size_t columns) {
  for (std::size_t c = 0; c < columns; ++c) out[c] = rows ? d[c] : 0;
  for (std::size_t r = 1; r < rows; ++r) {
    const float* row = d + r * columns;
    for (std::size_t c = 0; c < columns; ++c) out[c] += row[c];
  }
}

void ReluMask(float* d, const float* h, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) d[i] = h[i] > 0 ? d[i] : 0;
}

}  // namespace

#define SHEAF_JOIN_(a, b) a##b
#define SHEAF_JOIN(a, b) SHEAF_JOIN_(a, b)
#define SHEAF_TEXT_(a) #a
#define SHEAF_TEXT(a) SHEAF_TEXT_(a)
extern const Kernels SHEAF_JOIN(kKernels_, SHEAF_ISA);
const Kernels SHEAF_JOIN(kKernels_, SHEAF_ISA) = {
    SHEAF_TEXT(SHEAF_ISA), WeightedSum, ScaledSum, Sgd, BiasRelu, BiasAdd, ColumnSum, ReluMask};

}  // namespace sheaf::ml
