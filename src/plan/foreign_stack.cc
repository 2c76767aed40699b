#include "plan/foreign_stack.h"

#include "base/error.h"
#include "base/nearest.h"
#include "plan/named_entry.h"

namespace attune {
namespace {

// Weights, and what stands beside those that are trained.
double StandingBytes(const StackProfile& profile, const StackRun& run) {
  const auto parameters = static_cast<double>(run.parameters);
  if (run.full) return run.state_bytes * parameters;
  auto packed = run.bits == 0 ? 0.0 : static_cast<double>(run.linear_parameters);
  if (run.bits != 0 && profile.head_in_4bits) packed += static_cast<double>(run.vocabulary * run.hidden);
  // A scale of 32 bits for 64 codes; in 8 bits, with an f32 for 256 of them. 8-bit formats have one of 16 bits for 32.
  const double bits_each = run.bits == 8 ? 8.5 : run.nested ? 4.127 : 4.5;
  return packed * bits_each / 8 + 2 * (parameters - packed) +
         run.state_bytes * static_cast<double>(run.trained_parameters);
}

double StepBytes(const StackProfile& profile, const StackRun& run) {
  const auto tokens = static_cast<double>(run.tokens), hidden = static_cast<double>(run.hidden),
             mlp = static_cast<double>(run.mlp);
  double each_layer = 0;
  if (run.checkpointing) {
    each_layer = run.activations_on_host ? 0 : profile.checkpointed * hidden;
  } else {
    each_layer = profile.hidden * hidden + (run.has_gate ? profile.mlp * mlp : 0);
    if (run.bits != 0) each_layer += profile.quantized * (4 * hidden + mlp);
  }
  const double each_logit = run.chunked_loss ? profile.chunked_logits : profile.logits;
  double bytes =
      tokens * (each_layer * static_cast<double>(run.layers) + each_logit * static_cast<double>(run.vocabulary));
  if (run.shards)
    bytes += profile.gathered_layer * static_cast<double>(run.linear_parameters) / static_cast<double>(run.layers);
  return bytes + profile.fixed_gib * (1 << 30);
}

}  // namespace

// Fitted by least squares of relative errors to the published peaks of tests/data/published_peaks.json, each stack to
// its own rows and no figure below 0; docs/planner.md says how well they foretell rows that were left out. A 0 is a
// part that the rows do not show.
const std::vector<StackProfile>& StackProfiles() {
  static const std::vector<StackProfile> profiles = {
      {.name = "lit-gpt 2023",
       .hidden = 32.77,
       .mlp = 3.8,
       .quantized = 2.26,
       .logits = 4.86,
       .head_in_4bits = true,
       .adapter_state = 6},
      {.name = "litgpt",
       .hidden = 31.91,
       .mlp = 2.28,
       .quantized = 3.53,
       .logits = 26.12,
       .head_in_4bits = true,
       .adapter_state = 6},
      {.name = "transformers",
       .checkpointed = 2.5,
       .logits = 8.28,
       .fixed_gib = 2.21,
       .adapter_state = 16,
       .full_state = 20},
      {.name = "transformers, ZeRO-3",
       .checkpointed = 2.8,
       .logits = 5.27,
       .gathered_layer = 13.85,
       .adapter_state = 16,
       .full_state = 20},
      {.name = "ms-swift",
       .checkpointed = 10.62,
       .hidden = 55.22,
       .logits = 24.49,
       .fixed_gib = 2.35,
       .adapter_state = 16},
      {.name = "fsdp_qlora", .checkpointed = 5.25, .logits = 6.88, .fixed_gib = 1.77},
      {.name = "torchtune", .checkpointed = 4.07, .mlp = 5.61, .chunked_logits = 5.25},
      {.name = "torchtune, early 2024", .fixed_gib = 8.2},
      {.name = "llmq", .checkpointed = 35.13},
      {.name = "torchtitan", .checkpointed = 22.47, .full_state = 16},
      {.name = "mlx-lm", .logits = 8.61},
      {.name = "axolotl", .checkpointed = 5.69},
      {.name = "LLaMA-Factory", .fixed_gib = 3.88},
  };
  return profiles;
}

const StackProfile& FindStack(const std::string& name) {
  for (const StackProfile& profile : StackProfiles()) {
    if (profile.name == name) return profile;
  }
  const std::string nearest = NearestName(name, NamesOf(StackProfiles()));
  BadInput("stack {}: no profile of it{}", name, nearest.empty() ? "" : "; did you mean \"" + nearest + "\"?");
}

double PredictStackPeak(const StackProfile& profile, const StackRun& run) {
  const double devices = static_cast<double>(run.devices);
  double standing = run.weights_on_host ? 0 : StandingBytes(profile, run);
  if (run.shards && !run.summed) standing /= devices;
  return standing + StepBytes(profile, run) * (run.summed ? devices : 1);
}

}  // namespace attune
