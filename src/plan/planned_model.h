// What a plan knows of a model: its traits and how many parameters it has, from a configuration, a GGUF file's header,
// the Hugging Face cache or the built-in catalogue. Weights are not touched.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/model_spec.h"

namespace attune {

// One model of catalogue/models.json.
struct CatalogueModel {
  std::string name;        // "meta-llama/Llama-2-7b-hf"
  ModelSpec spec;          // of a mixture of experts: with the experts that work on one token as one MLP
  int64_t parameters = 0;  // all of them
  std::string licence, source;
  bool verified = false;              // the count is the published one
  std::vector<std::string> recalled;  // fields that were not read from a source
};

const std::vector<CatalogueModel>& ModelCatalogue();

struct PlannedModel {
  std::string name, source;  // where it was found: "config.json of ...", "catalogue"
  ModelSpec spec;
  // Parameters beyond those of the decoder block that the spec describes: experts at rest, position tables; below 0
  // where a family has fewer (an MLP without a gate).
  int64_t other_parameters = 0;
  int64_t stored_bytes = 0;  // of the weights in their files; 0: not at hand
  std::string lacking;       // why the engine cannot train it yet; empty: it can
  std::vector<std::string> recalled;

  int64_t parameters() const;
};

// `name`: a folder with config.json, a config.json, a .gguf file, "org/name" in the Hugging Face cache or in the
// catalogue, or a short name of the catalogue ("llama-2-7b"). Errors: Error{kBadInput} with the nearest name of the
// catalogue.
PlannedModel FindModel(const std::string& name);

// From a spec whose model is open already.
PlannedModel ModelOfSpec(const std::string& name, const ModelSpec& spec);

}  // namespace attune
