// Bytes of a model's weights in the forms that a method keeps them in, from their shapes alone.
#pragma once

#include <cstdint>

#include "models/model_spec.h"

namespace attune {

// As bitsandbytes keeps a model that is loaded in 4 bits (quant/bnb4.h): linear layers of the blocks in codes of 4 bits with
// a scale for 64 of them, `nested`: these in 8 bits; embeddings and the head in `compute`, vectors in f32.
// `other_parameters`: more of such layers, or fewer.
int64_t Nf4Bytes(const ModelSpec& spec, int64_t other_parameters, DType compute, bool nested);

// Keys and values of `tokens`, as the generator caches them (models/inference.h).
int64_t CacheBytes(const ModelSpec& spec, int64_t tokens);

}  // namespace attune
