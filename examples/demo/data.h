// Room: examples. Fashion-MNIST as objects in the store.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sheaf/ml.h"
#include "sheaf/sheaf.h"

namespace demo {

struct Data {
  std::vector<sheaf::ObjectRef<sheaf::ml::Shard>> train, test;  // as many of each as there are workers
  std::size_t train_rows = 0;                                   // of each training shard
  std::size_t test_rows = 0;                                    // of all test shards
  std::size_t bytes = 0;                                        // of the training shards
};

// Reads the four files in `folder`, scales pixels to mean 0 and deviation 1, shuffles the training rows with `seed`
// and deals them out. Throws sheaf::Error with advice.
Data LoadData(const std::string& folder, std::size_t shards, std::uint64_t seed);

}  // namespace demo
