// optim_args: what an optimiser takes beside the keys of TrainingArguments. Of the ones here that is sgd alone, as in
// transformers, which passes them by for the others.
#pragma once

#include <string>

namespace attune {

struct SgdArguments {
  double momentum = 0, dampening = 0;
  bool nesterov = false;
  bool operator==(const SgdArguments&) const = default;
};

// "momentum=0.9,nesterov=true". Errors: Error{kBadInput} beginning with `where`: an unknown name, a value out of range,
// and what torch.optim.SGD refuses.
SgdArguments ParseOptimArgs(std::string text, const std::string& where);

}  // namespace attune
