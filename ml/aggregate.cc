// Room: ml. The arithmetic of Aggregate; runs in a worker.
//
// Invariant: sums run from the first update to the last and are rounded to the element's type after each addition, so
// the bits depend on the order of the refs only.
#include "sheaf/ml/aggregate.h"

#include <cmath>
#include <cstring>
#include <string>

#include "ml/kernels.h"
#include "ml/weights_layout.h"

namespace sheaf::ml::detail {
namespace {

void CombineFloats(const std::vector<const float*>& sources, const Scales& scales, std::span<float> out) {
  if (scales.each.empty()) {
    BestKernels().scaled_sum(sources.data(), sources.size(), 1.0f / static_cast<float>(scales.count), out.data(),
                             out.size());
    return;
  }
  const std::vector<float> factors(scales.each.begin(), scales.each.end());
  BestKernels().weighted_sum(sources.data(), factors.data(), sources.size(), out.data(), out.size());
}

void CombineDoubles(const std::vector<const double*>& sources, const Scales& scales, std::span<double> out) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    double sum = 0;
    for (std::size_t k = 0; k < sources.size(); ++k) {
      sum += scales.each.empty() ? sources[k][i] : sources[k][i] * scales.each[k];
    }
    out[i] = scales.each.empty() ? sum / static_cast<double>(scales.count) : sum;
  }
}

template <class T>
std::vector<const T*> Sources(std::span<const Array<T>* const> parts) {
  std::vector<const T*> sources;
  for (const Array<T>* part : parts) {
    if (part->size() != parts[0]->size()) {
      throw Error("Aggregate: the first update has " + std::to_string(parts[0]->size()) + " values, number " +
                  std::to_string(sources.size()) + " has " + std::to_string(part->size()));
    }
    sources.push_back(part->data());
  }
  return sources;
}

template <class T>
double CombineScalars(std::span<const T* const> parts, const Scales& scales) {
  double sum = 0;
  for (std::size_t k = 0; k < parts.size(); ++k) {
    sum += static_cast<double>(*parts[k]) * (scales.each.empty() ? 1.0 : scales.each[k]);
  }
  return scales.each.empty() ? sum / static_cast<double>(scales.count) : sum;
}

}  // namespace

std::vector<double> ScalesOf(const Aggregator& how, std::size_t updates) {
  if (updates == 0) throw Error("Aggregate: no updates were given");
  const auto* weighted = std::get_if<WeightedMean>(&how);
  if (!weighted) return {};
  if (weighted->weights.size() != updates) {
    throw Error("Aggregate: " + std::to_string(weighted->weights.size()) + " weights for " + std::to_string(updates) +
                " updates");
  }
  double sum = 0;
  for (const double weight : weighted->weights) {
    if (!(weight >= 0)) throw Error("Aggregate: a weight is negative or not a number");
    sum += weight;
  }
  if (!(sum > 0) || !std::isfinite(sum)) throw Error("Aggregate: the weights must have a positive, finite sum");
  std::vector<double> scales = weighted->weights;
  for (double& scale : scales) scale /= sum;
  return scales;
}

Array<float> Combine(std::span<const Array<float>* const> parts, const Scales& scales) {
  const auto sources = Sources(parts);
  ArrayBuilder<float> builder(parts[0]->size());
  CombineFloats(sources, scales, builder.span());
  return std::move(builder).Seal();
}

Array<double> Combine(std::span<const Array<double>* const> parts, const Scales& scales) {
  const auto sources = Sources(parts);
  ArrayBuilder<double> builder(parts[0]->size());
  CombineDoubles(sources, scales, builder.span());
  return std::move(builder).Seal();
}

Weights Combine(std::span<const Weights* const> parts, const Scales& scales) {
  const auto first = parts[0]->image().span();
  const auto layout = LayoutOf(first);
  std::vector<const float*> floats;
  for (const Weights* part : parts) {
    const auto image = part->image().span();
    if (image.size() != first.size() ||
        (!first.empty() && std::memcmp(image.data(), first.data(), layout->data_offset) != 0)) {
      throw Error("Aggregate: update number " + std::to_string(floats.size()) +
                  " has other tensors than the first; all must be built from the same names and shapes");
    }
    floats.push_back(part->Flat().data());
  }
  WeightsBuilder builder(*parts[0]);
  CombineFloats(floats, scales, builder.Flat());
  for (const TensorPlace& place : layout->header.tensors) {
    if (place.spec.dtype != DType::kF64) continue;
    std::vector<const double*> doubles;
    for (const Weights* part : parts) {
      doubles.push_back(reinterpret_cast<const double*>(part->image().data() + layout->data_offset + place.begin));
    }
    CombineDoubles(doubles, scales, builder.span<double>(place.spec.name));
  }
  return std::move(builder).Seal();
}

double Combine(std::span<const double* const> parts, const Scales& scales) { return CombineScalars(parts, scales); }
float Combine(std::span<const float* const> parts, const Scales& scales) {
  return static_cast<float>(CombineScalars(parts, scales));
}

}  // namespace sheaf::ml::detail
