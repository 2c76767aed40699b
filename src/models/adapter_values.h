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

  // Whether a head that was tied to the embedding keeps the base's: PEFT trains a copy, or an adapter beside it.
  bool UntiesHead() const {
    return Replacement("model.embed_tokens", false) != nullptr || FindModule("model.embed_tokens") != nullptr;
  }

  // Adds what B's bias of an adapted module adds to the module's own (lora_bias); as it was where there is none.
  void MergeBias(const std::string& module, std::vector<float>& bias) const;

  // Puts the rows of trained tokens into the embedding (vocabulary, width), of which a tied head is part.
  void PutTokenRows(std::vector<float>& table) const;

  // The base weight with an adapted module's adapter, in f32 as PEFT's merge: w (out, in) becomes w + scale B A, with
  // DoRA its rows stretched to their magnitudes; of an embedding w (vocabulary, width) becomes w + scale (B A)^T.
  void Merge(const AdapterModule& module, std::vector<float>& w) const;
};

}  // namespace attune
