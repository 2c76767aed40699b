// Attention over bf16 operands: shares the key/value heads of the sequences among the threads and runs a kernel on
// them.
#pragma once

#include "ops/attention.h"
#include "ops/cpu/attention_kernel.h"
#include "ops/cpu/scratch.h"

namespace attune {

// Operands are bf16 as the op structs say; the same bits with any number of threads.
void RunAttention(const AttentionKernel& kernel, const Scratch& scratch, const Attention& op);
void RunAttention(const AttentionKernel& kernel, const Scratch& scratch, const AttentionBackward& op);

}  // namespace attune
