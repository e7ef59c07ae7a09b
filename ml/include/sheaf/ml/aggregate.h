// Aggregate: the mean of what several tasks return, computed by a task, left in the store.
//
//   std::vector<ObjectRef<ml::Weights>> updated;
//   for (const auto& batch : batches) updated.push_back(Remote<TrainBatch>(batch, weights));
//   weights = ml::Aggregate(updated);                      // returns at once; nothing comes back to the caller
//
// U is Weights, Array<float>, Array<double>, float, double, or a struct of such (Gradient{Array<float> g; double loss}).
// Sums run in the order of the refs, whatever the order in which they finish: the result has the same bits every time.
// Thread-safety: as Remote.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "sheaf/array.h"
#include "sheaf/error.h"
#include "sheaf/ml/weights.h"
#include "sheaf/remote.h"

namespace sheaf::ml {

struct Mean {};
// Weights need not sum to one, but their sum must be positive and finite, and there is one for each ref.
struct WeightedMean {
  std::vector<double> weights;
};
using Aggregator = std::variant<Mean, WeightedMean>;

}  // namespace sheaf::ml

namespace sheaf::ml::detail {

// What each update is multiplied by. For a mean the sum is formed first and scaled once.
struct Scales {
  std::vector<double> each;  // empty: a mean of `count`
  std::size_t count = 0;
};
// Throws Error when weights and updates do not fit each other.
std::vector<double> ScalesOf(const Aggregator& how, std::size_t updates);

Array<float> Combine(std::span<const Array<float>* const> parts, const Scales& scales);
Array<double> Combine(std::span<const Array<double>* const> parts, const Scales& scales);
// F32 and F64 tensors are combined; others are taken from the first. Throws Error when layouts differ.
Weights Combine(std::span<const Weights* const> parts, const Scales& scales);
double Combine(std::span<const double* const> parts, const Scales& scales);
float Combine(std::span<const float* const> parts, const Scales& scales);

template <class T>
inline constexpr bool kIsCombinable =
    std::is_same_v<T, Array<float>> || std::is_same_v<T, Array<double>> || std::is_same_v<T, Weights> ||
    std::is_same_v<T, double> || std::is_same_v<T, float>;

template <class T>
auto FieldsOf(T& value) {
  if constexpr (sheaf::detail::HasFields<std::remove_const_t<T>>) {
    return std::remove_const_t<T>::Fields(value);
  } else {
    return sheaf::detail::WithFields(value, [](auto&... field) { return std::tie(field...); });
  }
}

template <class T>
T CombineAny(const std::vector<const T*>& parts, const Scales& scales) {
  if constexpr (kIsCombinable<T>) {
    return Combine(std::span<const T* const>(parts), scales);
  } else {
    static_assert(
        sheaf::detail::HasFields<T> || (std::is_class_v<T> && std::is_aggregate_v<T>),
        "sheaf: ml::Aggregate combines ml::Weights, Array<float>, Array<double>, float, double and structs of "
        "these; an integer or a string has no mean");
    T result{};
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      const auto one = [&]<std::size_t K>(std::integral_constant<std::size_t, K>) {
        auto fields = FieldsOf(result);
        using Field = std::remove_cvref_t<std::tuple_element_t<K, decltype(fields)>>;
        std::vector<const Field*> column;
        for (const T* part : parts) column.push_back(&std::get<K>(FieldsOf(*part)));
        std::get<K>(fields) = CombineAny<Field>(column, scales);
      };
      (one(std::integral_constant<std::size_t, I>{}), ...);
    }(std::make_index_sequence<std::tuple_size_v<decltype(FieldsOf(result))>>{});
    return result;
  }
}

template <class U>
U AggregateTask(const std::vector<U>& updates, const std::vector<double>& scales) {
  std::vector<const U*> parts;
  for (const U& update : updates) parts.push_back(&update);
  return CombineAny<U>(parts, {scales, parts.size()});
}

}  // namespace sheaf::ml::detail

namespace sheaf::ml {

// Throws Error when there is nothing to aggregate or the weights do not fit; what differs between updates (sizes,
// layouts) is an error of the returned ref.
template <class U>
ObjectRef<U> Aggregate(const std::vector<ObjectRef<U>>& updates, const Aggregator& how = Mean{}) {
  return Remote<&detail::AggregateTask<U>>(updates, detail::ScalesOf(how, updates.size()));
}

}  // namespace sheaf::ml
