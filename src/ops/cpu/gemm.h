// Drives a GemmKernel over a whole product on all threads. See ops/gemm.h for what is computed.
#pragma once

#include "ops/cpu/gemm_kernel.h"
#include "ops/cpu/scratch.h"
#include "ops/gemm.h"

namespace attune {

// Longest reduction (in 32-bit units) whose partial sums never leave f32 registers or scratch.
inline constexpr int64_t kGemmMaxUnits = 4096;

// Highest rank of the low-rank term.
inline constexpr int64_t kGemmMaxRank = 4096;

void RunGemm(const GemmKernel& kernel, const Scratch& scratch, const Gemm& gemm);

}  // namespace attune
