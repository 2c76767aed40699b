// Products with few rows against weights as they are stored. Each thread decodes a row of weights into its scratch and
// takes the dot product with every row of x: the weights are read from memory once, in their stored size.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/stored_linear.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/cpu/kernels.h"
#include "ops/cpu/raw.h"
#include "ops/cpu/vector-inl.h"
#include "quant/gguf_blocks.h"

HWY_BEFORE_NAMESPACE();
namespace attune {
namespace HWY_NAMESPACE {

float Dot(const float* a, const float* b, int64_t n) {
  const FullF32 d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  auto sum0 = hn::Zero(d), sum1 = hn::Zero(d);
  int64_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    sum0 = hn::MulAdd(hn::LoadU(d, a + i), hn::LoadU(d, b + i), sum0);
    sum1 = hn::MulAdd(hn::LoadU(d, a + i + lanes), hn::LoadU(d, b + i + lanes), sum1);
  }
  float total = SumLanes(d, hn::Add(sum0, sum1));
  for (; i < n; ++i) total += a[i] * b[i];
  return total;
}

void StoredLinearKernel(const CpuState& state, const StoredLinear& op) {
  const int64_t k = op.w.cols, row_bytes = BytesOf(op.w.dtype, op.w.stride);
  const std::byte* weights = Raw<const std::byte>(op.w);
#pragma omp parallel for num_threads(state.scratch.threads) schedule(static)
  for (int64_t n = 0; n < op.w.rows; ++n) {
    const float* row = reinterpret_cast<const float*>(weights + n * row_bytes);
    if (op.w.dtype != DType::kF32) {
      float* room = reinterpret_cast<float*>(state.scratch.thread(ThreadIndex()));
      DecodeBlocks(op.w.dtype, weights + n * row_bytes, k, room);
      row = room;
    }
    for (int64_t m = 0; m < op.x.rows; ++m) {
      const float start = op.start ? RawRow<const float>(op.start, m)[n] : 0.0f;
      RawRow<float>(op.y, m)[n] = start + Dot(RawRow<const float>(op.x, m), row, k);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace attune
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attune {
HWY_EXPORT(StoredLinearKernel);
void CpuStoredLinear(void* state, const StoredLinear& op) {
  HWY_DYNAMIC_DISPATCH(StoredLinearKernel)(*static_cast<CpuState*>(state), op);
}
}  // namespace attune
#endif
