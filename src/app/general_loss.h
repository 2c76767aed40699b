// The loss on general text: prose and code that belong to no one's data. What training costs elsewhere shows here, and
// how far rows are from what a model reads every day.
#pragma once

#include <string>
#include <vector>

#include "app/bundle.h"
#include "base/progress.h"
#include "data/encode.h"

namespace attune {

inline constexpr const char* kBuiltInText = "built-in";

// A text in stretches of at most 512 tokens, the first 8192 of them, every token scored but the first of each. `path`
// kBuiltInText: the text that is built in (catalogue/general.txt), which was written for this purpose, so that no model
// has learned it by heart. Errors: Error{kBadInput}: a file that is not UTF-8 or holds too little, a model without a
// tokenizer.
std::vector<Example> GeneralText(const ModelBundle& bundle, const std::string& path);

// The model's loss on some rows beside that on general text, by token.
struct LossContrast {
  double rows = 0, general = 0;
  int64_t rows_measured = 0, row_tokens = 0, general_tokens = 0;  // scored
  double seconds = 0;
};

// Of rows at random (the same ones every time) and the built-in text, a little of each in turn until 2048 tokens of
// each have been read or `seconds` are over (one piece of each is read in any case). Weights stay in their files where
// they can. `examples` must not be empty.
LossContrast MeasureLossContrast(const ModelBundle& bundle, const std::vector<Example>& examples, double seconds,
                                 const OnProgress& on_progress);

}  // namespace attune
