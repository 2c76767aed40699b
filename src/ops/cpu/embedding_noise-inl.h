// Uniform noise on the embeddings (NEFTune), from the same hash as dropout masks.
// Compiled once for each Highway target, by small_kernels.cc.
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "ops/cpu/counter_hash-inl.h"
#include "ops/cpu/kernels.h"
#include "ops/cpu/raw.h"
#include "ops/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attune {
namespace HWY_NAMESPACE {

constexpr uint32_t kNoiseStream = 0xffffffffu;  // adapters count their streams from 0

void NoiseRow(uint32_t key, float magnitude, int64_t n, float* x) {
  ForEach(n, [&](auto d, int64_t i) HWY_ATTR {
    const hn::RebindToUnsigned<decltype(d)> du;
    const hn::RebindToSigned<decltype(d)> di;
    const auto bits = Mix(du, hn::Add(hn::Set(du, key + static_cast<uint32_t>(i)), hn::Iota(du, 0)));
    // 2 k + 1 - 2^24 for 24 random bits k: odd, so a float holds it exactly and 0 lies between two of them.
    const auto odd = hn::Add(hn::ShiftLeft<1>(hn::BitCast(di, hn::ShiftRight<8>(bits))), hn::Set(di, 1 - (1 << 24)));
    const auto draw = hn::Mul(hn::ConvertTo(d, odd), hn::Set(d, 0x1p-24f));
    hn::StoreU(hn::MulAdd(draw, hn::Set(d, magnitude), hn::LoadU(d, x + i)), d, x + i);
  });
}

void EmbeddingNoiseKernel(const CpuState& state, const EmbeddingNoise& op) {
  const int32_t* starts = Raw<const int32_t>(op.starts);
  const uint32_t* keys = Raw<const uint32_t>(op.keys);
#pragma omp parallel for num_threads(state.scratch.threads) schedule(static)
  for (int64_t t = 0; t < op.x.rows; ++t) {
    const int32_t* next = std::upper_bound(starts, starts + op.starts.cols, static_cast<int32_t>(t));
    const double elements = static_cast<double>(next[0] - next[-1]) * static_cast<double>(op.x.cols);
    const float magnitude = static_cast<float>(op.alpha / std::sqrt(elements));
    NoiseRow(StreamKey(keys[t], kNoiseStream), magnitude, op.x.cols, RawRow<float>(op.x, t));
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace attune
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attune {
HWY_EXPORT(EmbeddingNoiseKernel);
void CpuEmbeddingNoise(void* state, const EmbeddingNoise& op) {
  HWY_DYNAMIC_DISPATCH(EmbeddingNoiseKernel)(*static_cast<CpuState*>(state), op);
}
}  // namespace attune
#endif
