// The shapes of published models, by name: what their config.json says of sizes, so that a model of that shape can be
// made up without a download. Source: the config.json of each model on the Hugging Face Hub.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace attune {

// In the order in which they are listed to a person.
std::vector<std::string> ModelShapeNames();

// A config.json without torch_dtype; bos and eos are tokens 1 and 2, those of the tokenizer that is made up beside it.
// Errors: Error{kBadInput} for an unknown name, with the nearest known one and the list.
nlohmann::ordered_json ModelShapeConfig(const std::string& name);

}  // namespace attune
