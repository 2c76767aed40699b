// A base with an adapter folded into it, tensor by tensor: what merging writes in a plain type and quantising packs.
#pragma once

#include <string>
#include <vector>

#include "models/adapter_values.h"
#include "models/model_files.h"

namespace attune {

// The module that a tensor belongs to: "lm_head" of "lm_head.weight".
std::string ModuleOf(const std::string& tensor);

// Whether it is a quantised weight of a bitsandbytes checkpoint.
bool IsQuantized(const StoredTensor& tensor);

// An adapter's numbers mean something on the base they were trained on; run.json beside it says which that was. `files`
// are those of `model`. Errors: Error{kBadInput}: it was another one, unless `any_base`; it started from loftq and this
// base is not quantised. Nothing to say where there is no adapter or no run.json.
void RequireItsBase(const ModelFiles& files, const std::string& model, const std::string& adapter, bool any_base);

// An adapter that is to be folded into these files. Errors: Error{kBadInput}: B has a bias (lora_bias) where the base
// has none that it could be added to, which PEFT refuses too.
AdapterValues ReadAdapterToMerge(const ModelFiles& files, const std::string& folder);

// Whether a tied head gets weights of its own: an adapter's copy of the head or the embedding.
bool UntiesHead(const AdapterValues& adapter);

// The values of one tensor of the result, in Hugging Face's order.
std::vector<float> MergedValues(const ModelFiles& files, const AdapterValues& adapter, const std::string& name);

}  // namespace attune
