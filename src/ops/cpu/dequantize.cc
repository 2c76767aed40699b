// Decoding whole matrices, some rows a thread at a time.
#include "ops/cpu/kernels.h"
#include "ops/cpu/raw.h"
#include "quant/gguf_blocks.h"

namespace attune {

void CpuDequantize(void* state, const Dequantize& op) {
  const CpuState& cpu = *static_cast<CpuState*>(state);
  const int64_t k = op.w.cols, row_bytes = BytesOf(op.w.dtype, k);
  const std::byte* weights = Raw<const std::byte>(op.w);
#pragma omp parallel for num_threads(cpu.scratch.threads) schedule(static)
  for (int64_t n = 0; n < op.w.rows; ++n) {
    DecodeBlocks(op.w.dtype, weights + n * row_bytes, k, RawRow<float>(op.out, n));
  }
}

}  // namespace attune
