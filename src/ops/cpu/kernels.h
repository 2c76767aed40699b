// The CPU's ops, one function each; cpu_device.cc puts them into the device's table.
#pragma once

#include <omp.h>

#include "ops/cpu/attention_kernel.h"
#include "ops/cpu/gemm_kernel.h"
#include "ops/cpu/scratch.h"
#include "ops/device.h"

namespace attune {

struct CpuState {
  Scratch scratch;
  const GemmKernel* f32 = nullptr;
  const GemmKernel* bf16 = nullptr;                 // null: this machine has no bf16 products
  const AttentionKernel* bf16_attention = nullptr;  // likewise
};

// The worker a kernel runs on, inside a parallel region.
inline int ThreadIndex() { return omp_get_thread_num(); }

void CpuGemm(void* state, const Gemm& op);
void CpuEmbedding(void* state, const Embedding& op);
void CpuEmbeddingBackward(void* state, const EmbeddingBackward& op);
void CpuRmsNorm(void* state, const RmsNorm& op);
void CpuRmsNormBackward(void* state, const RmsNormBackward& op);
void CpuRmsNormWeightBackward(void* state, const RmsNormWeightBackward& op);
void CpuHeadNorm(void* state, const HeadNorm& op);
void CpuHeadNormBackward(void* state, const HeadNormBackward& op);
void CpuHeadNormWeightBackward(void* state, const HeadNormWeightBackward& op);
void CpuGatherColumns(void* state, const GatherColumns& op);
void CpuRope(void* state, const Rope& op);
void CpuSwiGlu(void* state, const SwiGlu& op);
void CpuSwiGluBackward(void* state, const SwiGluBackward& op);
void CpuDropoutMask(void* state, const DropoutMask& op);
void CpuEmbeddingNoise(void* state, const EmbeddingNoise& op);
void CpuCopy(void* state, const Copy& op);
void CpuFill(void* state, const Fill& op);
void CpuAddBias(void* state, const AddBias& op);
void CpuSumRows(void* state, const SumRows& op);
void CpuAttention(void* state, const Attention& op);
void CpuAttentionBackward(void* state, const AttentionBackward& op);
void CpuAttentionCached(void* state, const AttentionCached& op);
void CpuCrossEntropy(void* state, const CrossEntropy& op);
void CpuSumSquares(void* state, const SumSquares& op);
void CpuFindNonFinite(void* state, const FindNonFinite& op);
void CpuAdamW(void* state, const AdamW& op);
void CpuAdamW8bit(void* state, const AdamW8bit& op);
void CpuSgd(void* state, const Sgd& op);
void CpuLion(void* state, const Lion& op);
void CpuAdafactor(void* state, const Adafactor& op);
void CpuStoredLinear(void* state, const StoredLinear& op);
void CpuRowSquares(void* state, const RowSquares& op);
void CpuDoraFactors(void* state, const DoraFactors& op);
void CpuScaleColumns(void* state, const ScaleColumns& op);
void CpuColumnProducts(void* state, const ColumnProducts& op);
void CpuSelectScale(void* state, const SelectScale& op);

}  // namespace attune
