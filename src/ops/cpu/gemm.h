// Drives a GemmKernel over a whole product on all threads. See ops/gemm.h for what is computed.
#pragma once

#include "ops/cpu/gemm_kernel.h"
#include "ops/cpu/scratch.h"
#include "ops/gemm.h"

namespace attune {

// Highest rank of the low-rank term.
inline constexpr int64_t kGemmMaxRank = 4096;

void RunGemm(const GemmKernel& kernel, const Scratch& scratch, const Gemm& gemm);

// Runs a product with a thin operand, one an adapter's rank wide, and says so; false where it is none.
bool RunThinGemm(const GemmKernel& kernel, const Scratch& scratch, const Gemm& gemm);

}  // namespace attune
