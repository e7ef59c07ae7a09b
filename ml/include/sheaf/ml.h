// Sheaf's machine-learning layer: tensors and weights in shared memory, data files, aggregation of futures, a
// perceptron, and a data-parallel trainer. Add <sheaf/sheaf.h> for the runtime itself.
//
// Standard library and Sheaf's own headers only.
#pragma once

#include "sheaf/ml/aggregate.h"
#include "sheaf/ml/data_parallel.h"
#include "sheaf/ml/idx.h"
#include "sheaf/ml/map_mean.h"
#include "sheaf/ml/mlp.h"
#include "sheaf/ml/safetensors.h"
#include "sheaf/ml/sgd.h"
#include "sheaf/ml/tensor.h"
#include "sheaf/ml/tensor_spec.h"
#include "sheaf/ml/weights.h"
