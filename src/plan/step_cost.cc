#include "plan/step_cost.h"

namespace attune {
namespace {

// Of the blocks' matrices whose name ends so.
double MatrixWeights(const ModelSpec& spec, std::string_view ending) {
  double n = 0;
  for (const ExpectedTensor& t : ExpectedTensors(spec)) {
    if (t.shape.size() == 2 && t.name.starts_with("model.layers.") && t.name.ends_with(ending)) {
      n += static_cast<double>(t.shape[0]) * static_cast<double>(t.shape[1]);
    }
  }
  return n;
}

double BlockWeights(const ModelSpec& spec, const StepWork& work) {
  return static_cast<double>(work.missing_parameters) + MatrixWeights(spec, "weight");
}

// Products of a causal attention forward, a token: q k^T and p v over half the sequence.
double AttentionForward(const ModelSpec& spec, const StepWork& work) {
  return 2.0 * static_cast<double>(spec.num_hidden_layers) * static_cast<double>(work.length) *
         static_cast<double>(spec.num_attention_heads * spec.head_dim);
}

// The forward pass of the blocks.
double BlocksForward(const ModelSpec& spec, const StepWork& work) {
  return 2.0 * (BlockWeights(spec, work) + static_cast<double>(work.adapter_parameters)) + AttentionForward(spec, work);
}

double HeadWeights(const ModelSpec& spec) {
  return static_cast<double>(spec.vocab_size) * static_cast<double>(spec.hidden_size);
}

double EachWeight(const StepWork& work) { return work.full ? 6.0 : 4.0; }

}  // namespace

double HeadFlopsPerToken(const ModelSpec& spec, const StepWork& work) { return EachWeight(work) * HeadWeights(spec); }

double FlopsPerToken(const ModelSpec& spec, const StepWork& work) {
  return EachWeight(work) * BlockWeights(spec, work) + HeadFlopsPerToken(spec, work) +
         6.0 * static_cast<double>(work.adapter_parameters) + 3.0 * AttentionForward(spec, work);
}

double RecomputedFlopsPerToken(const ModelSpec& spec, const StepWork& work) {
  return BlocksForward(spec, work) - 2.0 * MatrixWeights(spec, "down_proj.weight");
}

double ForwardFlopsPerToken(const ModelSpec& spec, const StepWork& work) {
  return BlocksForward(spec, work) + 2.0 * HeadWeights(spec);
}

}  // namespace attune
