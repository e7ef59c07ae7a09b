// MapMean: the mean of what a function makes of many items, reduced along the way.
//
//   weights = ml::MapMean<TrainBatch>(batches, weights, {.groups = 2});    // Weights TrainBatch(const Batch&, const Weights&)
//
// Aggregate brings every update to the machine that combines them. Here consecutive items form a group; a group is one task,
// which runs the function for its items as tasks of its own, on its machine, and combines what they return there. So a driver
// behind a slow link receives one update for each group instead of one for each item, and a group goes to the machine that has
// the bytes of its items (runtime/locality.cc): give as many groups as there are machines, or a few times that many. What would
// wait there for long may still run on a third machine. (Two levels of the reduction trees in Patarasuk and Yuan, "Bandwidth
// optimal all-reduce algorithms for clusters of workstations", J. Parallel Distrib. Comput. 69(2), 2009, section 2.)
// Sums run in the order of the items within a group, then in the order of the groups: the same bits for the same groups,
// whatever the timing; not those of Aggregate, which has one group. Thread-safety: as Remote.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "sheaf/error.h"
#include "sheaf/ml/aggregate.h"
#include "sheaf/remote.h"

namespace sheaf::ml {

struct MapMeanOptions {
  std::size_t groups = 0;  // at most the number of items; 0: groups of eight items
};

}  // namespace sheaf::ml

namespace sheaf::ml::detail {

template <auto F, class S>
struct MapGroup;
template <auto F, class R, class A, class B>
struct MapGroup<F, sheaf::detail::Signature<R, A, B>> {
  using Item = std::remove_cvref_t<A>;
  using Shared = std::remove_cvref_t<B>;
  using Update = std::remove_cvref_t<R>;

  static Update Run(const std::vector<ObjectRef<Item>>& items, const ObjectRef<Shared>& shared) {
    std::vector<ObjectRef<Update>> refs;
    for (const auto& item : items) refs.push_back(Remote<F>(item, shared));
    std::vector<Update> updates;
    std::vector<const Update*> parts;
    for (const auto& ref : refs) updates.push_back(ref.Get());
    for (const Update& update : updates) parts.push_back(&update);
    return CombineAny<Update>(parts, {{}, parts.size()});
  }
};

}  // namespace sheaf::ml::detail

namespace sheaf::ml {

// F(item, shared) for each item: R F(const Item&, const Shared&). What Aggregate can combine it may return. Throws Error
// when there are no items; what a run of F throws is thrown by Get.
template <auto F, class G = detail::MapGroup<F, sheaf::detail::TaskSignature<F>>>
ObjectRef<typename G::Update> MapMean(const std::vector<ObjectRef<typename G::Item>>& items,
                                      const ObjectRef<typename G::Shared>& shared, const MapMeanOptions& options = {}) {
  if (items.empty()) throw Error("MapMean: no items were given");
  constexpr std::size_t kItemsEach = 8;
  const std::size_t wanted = options.groups == 0 ? (items.size() + kItemsEach - 1) / kItemsEach : options.groups;
  const std::size_t groups = std::min(wanted, items.size());
  std::vector<ObjectRef<typename G::Update>> means;
  WeightedMean sizes;
  for (std::size_t g = 0; g < groups; ++g) {
    const auto begin = items.begin() + static_cast<std::ptrdiff_t>(items.size() * g / groups);
    const auto end = items.begin() + static_cast<std::ptrdiff_t>(items.size() * (g + 1) / groups);
    means.push_back(Remote<&G::Run>(std::vector<ObjectRef<typename G::Item>>(begin, end), shared));
    sizes.weights.push_back(static_cast<double>(end - begin));
  }
  return groups == 1 ? means[0] : Aggregate(means, sizes);
}

}  // namespace sheaf::ml
