// Whether the weights themselves are what makes numbers go out of range: asked once something has failed, so it may
// take its time, that of reading the whole model. And what is said where a model in use computes such numbers.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "models/model_files.h"

namespace attune {

bool AllFinite(std::span<const float> values);
bool AllFinite(std::span<const std::byte> values, DType dtype);  // of F32, BF16 or F16

// The first tensor, in the model's order, that holds a value that is infinite or not a number, by its name in the files
// of Hugging Face. "": none.
std::string FirstNonFiniteWeight(const ModelFiles& files, int64_t threads);

// Throws Error{kBadInput}: `what` ("the loss of rows.jsonl:3") that the model at `path` computes is not finite.
[[noreturn]] void RefuseNonFinite(const std::string& path, const std::string& what);

}  // namespace attune
