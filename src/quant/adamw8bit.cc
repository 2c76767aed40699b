#include "quant/adamw8bit.h"

#include <algorithm>
#include <cmath>

#include "quant/dynamic8.h"

namespace attune {
namespace {

// One element; the states are float32 here.
void Update(const AdamW8bitNumbers& n, float gradient, float* parameter, float* m, float* v) {
  gradient *= n.scale;
  if (!std::isfinite(gradient)) {
    *m = *v = 0;
    return;
  }
  *m = *m * n.beta1 + n.rest1 * gradient;
  *v = *v * n.beta2 + n.rest2 * (gradient * gradient);
  const float denominator = std::sqrt(*v) / n.correction + n.epsilon;
  *parameter = *parameter * n.decay + n.rate * *m / denominator;
}

}  // namespace

AdamW8bitNumbers::AdamW8bitNumbers(const AdamW8bitSettings& s, int64_t step)
    : beta1(static_cast<float>(s.beta1)),
      rest1(static_cast<float>(1 - s.beta1)),
      beta2(static_cast<float>(s.beta2)),
      rest2(static_cast<float>(1 - s.beta2)),
      epsilon(static_cast<float>(s.epsilon)),
      scale(s.gradient_scale),
      decay(s.weight_decay > 0 ? static_cast<float>(1 - s.learning_rate * s.weight_decay) : 1.0f),
      correction(static_cast<float>(std::sqrt(1 - std::pow(s.beta2, static_cast<double>(step))))),
      rate(static_cast<float>(-s.learning_rate / (1 - std::pow(s.beta1, static_cast<double>(step))))) {}

AdamW8bitState::AdamW8bitState(int64_t elements)
    : m(static_cast<size_t>(elements)),
      v(m.size()),
      absmax_m(static_cast<size_t>((elements + kAdamW8bitBlock - 1) / kAdamW8bitBlock)),
      absmax_v(absmax_m.size()) {}

void StepAdamW8bit(const AdamW8bitSettings& settings, int64_t step, const AdamW8bitRange& range) {
  const NearestCode& nearest_m = NearestDynamic(true);
  const NearestCode& nearest_v = NearestDynamic(false);
  const AdamW8bitNumbers numbers(settings, step);
  float m[kAdamW8bitBlock], v[kAdamW8bitBlock];
  const size_t count = range.parameters.size();
  for (size_t start = 0, block = 0; start < count; start += kAdamW8bitBlock, ++block) {
    const size_t size = std::min(count - start, size_t{kAdamW8bitBlock});
    const auto elements = static_cast<int64_t>(size);
    uint8_t* m_codes = range.m.data() + start;
    uint8_t* v_codes = range.v.data() + start;
    DecodeDynamic8(nearest_m.map(), kAdamW8bitBlock, m_codes, &range.absmax_m[block], elements, m);
    DecodeDynamic8(nearest_v.map(), kAdamW8bitBlock, v_codes, &range.absmax_v[block], elements, v);
    for (size_t i = 0; i < size; ++i) {
      Update(numbers, range.gradient[start + i], &range.parameters[start + i], &m[i], &v[i]);
    }
    EncodeDynamic8(nearest_m, kAdamW8bitBlock, m, elements, m_codes, &range.absmax_m[block]);
    EncodeDynamic8(nearest_v, kAdamW8bitBlock, v, elements, v_codes, &range.absmax_v[block]);
  }
}

}  // namespace attune
