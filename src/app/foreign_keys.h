// The keys of transformers' TrainingArguments and TRL's SFTConfig that Attune does not have: each is accepted where it
// says what happens anyway, and refused by name with the reason otherwise, so that no setting is ignored in silence.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace attune {

struct ForeignKey {
  std::string name;
  std::vector<nlohmann::ordered_json> accepted;  // null is accepted for every one of them
  std::string reason;                            // why another value is refused
};

const std::vector<ForeignKey>& ForeignKeys();

}  // namespace attune
