// AdamW with its two states in 8 bits, as bitsandbytes' AdamW8bit updates on a CPU: blocks of 256 elements,
// the first state by the signed dynamic map, the second by the unsigned one, the weight decay before the
// update. A plain reference, of which threads may take ranges of whole blocks (ops/cpu/optimizer_8bit.cc is
// the kernel). Source: Dettmers et al.,
// "8-bit Optimizers via Block-wise Quantization" (arXiv 2110.02861); bitsandbytes 0.50.2, backends/cpu/ops.py
// and optim/optimizer.py. Against its own states and parameters: parameters to 1e-6, one code in a thousand
// may be the neighbour (its quantiser divides in another order).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace attune {

struct AdamW8bitSettings {
  double learning_rate = 1e-3, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight_decay = 0;
  float gradient_scale = 1;
};

// The numbers of step `step` (from 1), rounded to float32 where torch rounds them.
struct AdamW8bitNumbers {
  AdamW8bitNumbers(const AdamW8bitSettings& settings, int64_t step);
  float beta1, rest1, beta2, rest2, epsilon, scale;
  float decay;       // 1 - learning rate * weight decay
  float correction;  // square root of 1 - beta2^step
  float rate;        // -learning rate / (1 - beta1^step)
};

inline constexpr int64_t kAdamW8bitBlock = 256;
// Tensors of fewer elements keep their states in float32 (torch's AdamW, ops/optimizer.h).
inline constexpr int64_t kLeastAdamW8bitElements = 4096;

// The states of `elements` parameters; zeros before the first step. m and v are codes, absmax_m and absmax_v
// the scales of their blocks.
struct AdamW8bitState {
  std::vector<uint8_t> m, v;
  std::vector<float> absmax_m, absmax_v;
  explicit AdamW8bitState(int64_t elements);
};

// A range of a tensor that starts at a block and ends at one or at the tensor's end.
struct AdamW8bitRange {
  std::span<float> parameters;
  std::span<const float> gradient;
  std::span<uint8_t> m, v;              // as many
  std::span<float> absmax_m, absmax_v;  // one a block
};

// Step number `step` (from 1). An element whose gradient is not finite keeps its parameter and loses its
// state, as on bitsandbytes' GPUs; its CPU rule would spoil the block. Parameters kept in bfloat16 are the
// caller's to round.
void StepAdamW8bit(const AdamW8bitSettings& settings, int64_t step, const AdamW8bitRange& range);

}  // namespace attune
