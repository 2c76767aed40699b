// The peak memory of other training stacks, from a few facts of a run and a profile of what each stack keeps: how a
// plan is held against figures that others have published, and what moving a run from there to here changes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace attune {

// Bytes that a stack keeps. A framework that records its operations keeps what each of them will need again: the more
// of them a block is made of, the more copies of its width.
struct StackProfile {
  std::string name;
  double checkpointed = 0;     // a token, layer and unit of width, with gradient checkpointing
  double hidden = 0, mlp = 0;  // the same without it, by the width of the residual and that of a gated MLP
  double quantized = 0;        // more of it where weights have 4 bits: inputs of products, by 4 widths and the MLP's
  double logits = 0;           // a logit, of a whole batch
  double chunked_logits = 0;   // the same where the loss is taken in chunks
  double gathered_layer = 0;   // a parameter of one layer, where layers are collected from several devices
  double fixed_gib = 0;
  bool head_in_4bits = false;  // as the linear layers
  double adapter_state = 8,
         full_state = 8;  // state_bytes of a run that does not say: bf16 with bf16 gradients and moments
};

const std::vector<StackProfile>& StackProfiles();

// Errors: Error{kBadInput} with the nearest name.
const StackProfile& FindStack(const std::string& name);

// A run as a publication tells it.
struct StackRun {
  int64_t parameters = 0, linear_parameters = 0, trained_parameters = 0;  // linear: of the blocks
  int64_t hidden = 0, mlp = 0, layers = 0, vocabulary = 0;
  bool full = false;
  // A trained parameter, with its gradient and the optimiser's states; of a full run all there is of it. 6: bf16 with
  // bf16 moments as well; 16: f32 with f32 moments.
  double state_bytes = 0;
  int64_t bits = 0;     // of the base's linear layers: 0 (16), 8 or 4
  bool nested = false;  // scales in 8 bits
  bool has_gate = true;
  bool checkpointing = false, chunked_loss = false;
  bool weights_on_host = false, activations_on_host = false;
  int64_t tokens = 0;  // of a micro-batch
  int64_t devices = 1;
  bool shards = false;  // weights and states are divided among the devices
  bool summed = false;  // the figure is that of all devices together
};

// Bytes, on the fullest device or, `summed`, on all.
double PredictStackPeak(const StackProfile& profile, const StackRun& run);

}  // namespace attune
