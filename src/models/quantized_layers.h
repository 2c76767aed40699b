// Which weights a BitsAndBytesConfig quantises in a model: its linear layers, less those that transformers leaves alone.
#pragma once

#include <set>
#include <string>

#include "adapters/bnb_config.h"
#include "models/model_spec.h"

namespace attune {

// Names of weights ("model.layers.0.mlp.up_proj.weight"). Errors: Error{kBadInput} when llm_int8_skip_modules leaves none.
std::set<std::string> QuantizedLayers(const ModelSpec& spec, const BnbConfig& config);

}  // namespace attune
