// An adapter on the host, as its files hold it: for generation, merging and export, which read it once.
#pragma once

#include <string>
#include <vector>

#include "models/decoder_plan.h"
#include "models/trainable.h"

namespace attune {

struct AdapterValues {
  AdapterSpec spec;
  std::vector<TrainableTensor> tensors;
  std::vector<std::vector<float>> values;  // one for each tensor, in the layout of the files

  const std::vector<float>* Find(const std::string& module, TrainableTensor::Kind kind) const;  // nullptr: none
  const AdapterModule* FindModule(const std::string& path) const;                               // nullptr: not adapted

  // What replaces a base weight of this module ("model.norm"; bias: its bias), nullptr where nothing does.
  const std::vector<float>* Replacement(const std::string& module, bool bias) const;

  bool ChangesEmbedding() const {
    return Replacement("model.embed_tokens", false) != nullptr || FindModule("model.embed_tokens") != nullptr;
  }

  // Adds the low-rank product of an adapted module to its base weight, in f32 as PEFT's merge does:
  // w (out, in) += scale B A, or of an embedding w (vocabulary, width) += scale (B A)^T.
  void AddLowRank(const AdapterModule& module, std::vector<float>& w) const;
};

}  // namespace attune
