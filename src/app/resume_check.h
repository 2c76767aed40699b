// Whether a run that goes on from a checkpoint is the run that made it.
#pragma once

#include <nlohmann/json.hpp>

namespace attune {

// Both as TrainSession::fingerprint. Errors: Error{kBadInput} naming the first thing that differs and both values; with
// `force` only for what no checkpoint can be gone on with (what is trained, the optimiser). Settings that change no bit
// of the result (intervals of logging, saving and evaluation) may always differ.
void CheckResumable(const nlohmann::ordered_json& checkpoint, const nlohmann::ordered_json& now, bool force);

}  // namespace attune
