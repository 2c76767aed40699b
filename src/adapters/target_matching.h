// Which modules of a model a LoRA configuration adapts, and with what rank: PEFT's rules
// (CONFORMANCE.md 1.2), so that an adapter covers the same modules in both.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "adapters/lora_config.h"

namespace attune {

// A module of the base model. Containers and norms may be listed too; only linear layers and embeddings can
// be adapted.
struct ModuleInfo {
  std::string path;  // "model.layers.0.self_attn.q_proj"
  bool is_linear = false;
  bool is_output_head = false;  // the linear layer that gives the logits
  bool is_embedding = false;
  int64_t in = 0, out = 0;  // of a linear layer; an embedding's vocabulary and width; of a norm 1 and its width
};

// The names a person can choose from: the last parts of the paths of linear layers and embeddings, each once, with
// commas between.
std::string NamesThatExist(std::span<const ModuleInfo> modules);

struct MatchedModule {
  ModuleInfo module;
  int64_t rank = 0;
  double alpha = 0;
  double scaling = 0;  // alpha / rank, or alpha / sqrt(rank) with use_rslora
};

// How to take a name in target_modules that no module bears: when training it is a typing mistake; in a file
// from elsewhere PEFT would have passed it over.
enum class UnknownTargets { kRefuse, kIgnore };

// Whether adapters of this model_type have target_modules where none are given.
bool HasDefaultTargets(const std::string& model_type);

// The configuration with target_modules spelled out, as PEFT leaves it before saving: nothing becomes the
// default of the model_type, "all-linear" the names of all linear layers but the output head, twenty names or
// more the shortest suffixes that tell them from the rest; fan_in_fan_out false, as every layer here is
// stored (out, in). Errors: Error{kBadInput} when there is no default for the model_type.
LoraConfig ResolveTargets(LoraConfig config, std::span<const ModuleInfo> modules, const std::string& model_type);

// The adapted modules in the order of `modules`. `where` names the configuration in errors.
// Errors: Error{kBadInput}: nothing matches, a target matches nothing, a match is no layer, an expression is
// wrong.
std::vector<MatchedModule> MatchTargets(const LoraConfig& config, std::span<const ModuleInfo> modules,
                                        const std::string& model_type, const std::string& where,
                                        UnknownTargets unknown = UnknownTargets::kRefuse);

// The modules that modules_to_save names: those whose path ends with an entry. Errors: Error{kBadInput} for
// an entry that matches nothing.
std::vector<ModuleInfo> MatchModulesToSave(const LoraConfig& config, std::span<const ModuleInfo> modules,
                                           const std::string& where);

}  // namespace attune
