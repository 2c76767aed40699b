// What is quantised of a model by a run with method qlora: how, and which of its weights.
#pragma once

#include <optional>
#include <set>
#include <string>

#include "adapters/bnb_config.h"
#include "models/model_files.h"

namespace attune {

// The settings of the QLoRA paper: nf4 with double quantisation.
BnbConfig QloraQuantization();

// How the base of a qlora run is quantised while it is read: as `given` says, else as in the paper, or nothing where
// the files are quantised already.
std::optional<BnbConfig> QuantizationOf(const std::optional<BnbConfig>& given, const ModelFiles& files);

// The linear layers, less those that transformers leaves alone: names of weights ("model.layers.0.mlp.up_proj.weight").
// Errors: Error{kBadInput} when llm_int8_skip_modules leaves none, or names what the model does not have.
std::set<std::string> QuantizedLayers(const ModelSpec& spec, const BnbConfig& config);

}  // namespace attune
