// Whether the weights themselves are what makes numbers go out of range: asked once something has failed, so it may
// take its time, that of reading the whole model.
#pragma once

#include <string>
#include <vector>

#include "models/model_files.h"

namespace attune {

bool AllFinite(const std::vector<float>& values);

// The first tensor, in the model's order, that holds a value that is infinite or not a number, by its name in the files
// of Hugging Face. "": none.
std::string FirstNonFiniteWeight(const ModelFiles& files, int64_t threads);

}  // namespace attune
