// What an op asks of a machine: how much work, and of which kind. Ops of one kind run at about one rate, whatever the
// model, so that the time of a step is known before it runs: the sum over kinds of amount by rate (docs/planner.md).
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>

#include "ops/attention.h"
#include "ops/dora.h"
#include "ops/gemm.h"
#include "ops/linear.h"
#include "ops/loss.h"
#include "ops/optimizer.h"
#include "ops/pointwise.h"

namespace attune {

// The amount is what the time of ops of a kind goes by, whatever their shapes:
//
//   products           operations, and those that packing is worth; both operands in the compute type
//   products by TYPE   likewise; by weights that are decoded on the way: "products by Q4_K"
//   thin products      operations, and kReadingSide more columns; one side is at most kThinSide, as adapters have it
//   attention, attention backward
//                      operations over the pairs of tokens that kernels compute, which is more than see each other
//   cross-entropy, dropout masks, element-wise, optimiser
//                      bytes read and written
struct OpWork {
  std::string kind;
  double flops = 0, bytes = 0;  // one of them is 0
  double amount = 0;
};

inline constexpr int64_t kThinSide = 64;

// A thin product reads its long operand in the time of so many columns of multiplying: measured with ranks of 8, 16 and
// 64 (docs/planner.md).
inline constexpr double kReadingSide = 10;

inline constexpr const char* kProducts = "products";
inline constexpr const char* kProductsBy = "products by ";

// Work of a step or a run: amounts by kind.
using WorkAmounts = std::map<std::string, double>;

// Over all sequences [starts[s], starts[s + 1]); window as AttentionShape's. Kernels compute tiles of 64 queries by 64
// keys, whole also at the diagonal, and take as long as for half a tile more with each 64 queries: turning them, sums
// (measured with rows of 128 and 512 tokens).
AttentionPairs CountPairs(std::span<const int32_t> starts, int64_t window);

OpWork WorkOf(const Gemm& op);
OpWork WorkOf(const StoredLinear& op);
OpWork WorkOf(const Attention& op);
OpWork WorkOf(const AttentionBackward& op);
OpWork WorkOf(const AttentionCached& op);
OpWork WorkOf(const CrossEntropy& op);
OpWork WorkOf(const DropoutMask& op);

OpWork WorkOf(const Embedding& op);
OpWork WorkOf(const EmbeddingBackward& op);
OpWork WorkOf(const EmbeddingNoise& op);
OpWork WorkOf(const RmsNorm& op);
OpWork WorkOf(const RmsNormBackward& op);
OpWork WorkOf(const RmsNormWeightBackward& op);
OpWork WorkOf(const HeadNorm& op);
OpWork WorkOf(const HeadNormBackward& op);
OpWork WorkOf(const HeadNormWeightBackward& op);
OpWork WorkOf(const Rope& op);
OpWork WorkOf(const SwiGlu& op);
OpWork WorkOf(const SwiGluBackward& op);
OpWork WorkOf(const Copy& op);
OpWork WorkOf(const Fill& op);
OpWork WorkOf(const AddBias& op);
OpWork WorkOf(const SumRows& op);
OpWork WorkOf(const FindNonFinite& op);
OpWork WorkOf(const RowSquares& op);
OpWork WorkOf(const DoraFactors& op);
OpWork WorkOf(const ScaleColumns& op);
OpWork WorkOf(const ColumnProducts& op);
OpWork WorkOf(const SelectScale& op);
OpWork WorkOf(const GatherColumns& op);

OpWork WorkOf(const SumSquares& op);
OpWork WorkOf(const AdamW& op);
OpWork WorkOf(const AdamW8bit& op);
OpWork WorkOf(const Sgd& op);
OpWork WorkOf(const Lion& op);
OpWork WorkOf(const Adafactor& op);

}  // namespace attune
