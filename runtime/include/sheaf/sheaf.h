// Sheaf: plain C++ functions on every core, data shared in place. The one header to include.
//
// The machine-learning layer is <sheaf/ml.h>.
//
// Standard library only: users compile this file.
#pragma once

#include "sheaf/array.h"
#include "sheaf/completions.h"
#include "sheaf/error.h"
#include "sheaf/init.h"
#include "sheaf/object_ref.h"
#include "sheaf/options.h"
#include "sheaf/register_errors.h"
#include "sheaf/remote.h"
#include "sheaf/serializer.h"
