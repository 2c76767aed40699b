// What every op means, in plain scalar code: the documentation of the kernels and what their tests compare
// with. Sums and functions are double; an operand is read as it is stored and a result is rounded once, to
// the dtype it is stored in. Beside the dtypes of the op structs any floating operand may be F64 here, so
// that derivatives can be checked.
#pragma once

#include "ops/attention.h"
#include "ops/dora.h"
#include "ops/gemm.h"
#include "ops/linear.h"
#include "ops/loss.h"
#include "ops/optimizer.h"
#include "ops/pointwise.h"

namespace attune {

// Each takes the op with addresses of host memory. Slow: for tests and small sizes.
void Reference(const Gemm& op);
void Reference(const Embedding& op);
void Reference(const EmbeddingBackward& op);
void Reference(const GatherColumns& op);
void Reference(const RmsNorm& op);
void Reference(const RmsNormBackward& op);
void Reference(const RmsNormWeightBackward& op);
void Reference(const HeadNorm& op);
void Reference(const HeadNormBackward& op);
void Reference(const HeadNormWeightBackward& op);
void Reference(const Rope& op);
void Reference(const SwiGlu& op);
void Reference(const SwiGluBackward& op);
void Reference(const DropoutMask& op);
void Reference(const EmbeddingNoise& op);
void Reference(const Copy& op);
void Reference(const Fill& op);
void Reference(const AddBias& op);
void Reference(const SumRows& op);
void Reference(const Attention& op);
void Reference(const AttentionBackward& op);
void Reference(const AttentionCached& op);
void Reference(const CrossEntropy& op);
void Reference(const SumSquares& op);
void Reference(const FindNonFinite& op);
void Reference(const AdamW& op);
void Reference(const AdamW8bit& op);
void Reference(const Sgd& op);
void Reference(const Lion& op);
void Reference(const Adafactor& op);
void Reference(const StoredLinear& op);
void Reference(const RowSquares& op);
void Reference(const DoraFactors& op);
void Reference(const ScaleColumns& op);
void Reference(const ColumnProducts& op);
void Reference(const SelectScale& op);

// Element (r, c) of a host matrix of F32, BF16, F64 or I32; Put rounds to the matrix's dtype.
double Get(const Matrix& matrix, int64_t r, int64_t c);
void Put(const Matrix& matrix, int64_t r, int64_t c, double value);

}  // namespace attune
