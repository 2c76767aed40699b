// A ModelSpec as config.json, in the layout every version of transformers reads (that of version 4).
#pragma once

#include <nlohmann/json.hpp>

#include "base/dtype.h"
#include "models/model_spec.h"

namespace attune {

// `source`: the model's own config.json where it has one (kept, with dtype and tying brought up to date, and without
// what it says of quantisation), else {}.
nlohmann::ordered_json HfConfig(const ModelSpec& spec, const nlohmann::ordered_json& source, DType dtype, bool tied);

}  // namespace attune
