// What stands between the matrix products of a decoder block: embedding, norm, rotation, activation, dropout masks.
// Each struct is one op: its operands, with shapes. T: tokens of the packed batch, H: hidden size. "C" is the compute
// dtype, f32 or bf16; whatever is C is read and written rounded to it, sums and functions are f32.
#pragma once

#include <cstdint>

#include "tensor/matrix.h"

namespace attune {

// out[t] = table[ids[t]].
struct Embedding {
  static constexpr const char* kName = "embedding";
  Matrix out;    // (T, H) f32
  Matrix table;  // (V, H) any stored type (quant/stored_matrix.h)
  Matrix ids;    // (1, T) I32
};

// dtable[ids[t]] += dx[t], tokens in order; a negative id adds nothing.
struct EmbeddingBackward {
  static constexpr const char* kName = "embedding_backward";
  Matrix dtable;  // (V, H) f32, added to
  Matrix dx;      // (T, H) f32
  Matrix ids;     // (1, T) I32
};

// out[t, j] = x[t, columns[j]].
struct GatherColumns {
  static constexpr const char* kName = "gather_columns";
  Matrix out, x;   // (T, n), (T, m) C
  Matrix columns;  // (1, n) I32
};

// out[i] = x[r] * rstd[i] * weight, rstd = 1/sqrt(mean(x²) + eps), r = rows ? rows[i] : i.
// Zhang & Sennrich 2019, as LlamaRMSNorm.
struct RmsNorm {
  static constexpr const char* kName = "rms_norm";
  Matrix out;     // (n, H) C
  Matrix x;       // (T, H) f32
  Matrix weight;  // (1, H) f32
  Matrix rstd;    // (1, n) f32, written; may be empty
  Matrix rows;    // (1, n) I32: which rows of x; may be empty
  float eps = 1e-5f;
};

// dx[r] += the gradient through RmsNorm. dx_copy, if given, receives the sum in C (what the next product reads).
struct RmsNormBackward {
  static constexpr const char* kName = "rms_norm_backward";
  Matrix dx;                     // (T, H) f32, added to
  Matrix dx_copy;                // (T, H) C; may be empty
  Matrix dy;                     // (n, H) f32
  Matrix x, weight, rstd, rows;  // as in the forward op
};

// dweight[j] += sum over i of dy[i, j] x[r, j] rstd[i], r = rows ? rows[i] : i: the gradient of RmsNorm's
// weight. Rows are added in an order that only n decides.
struct RmsNormWeightBackward {
  static constexpr const char* kName = "rms_norm_weight_backward";
  Matrix dweight;  // (1, H) f32, added to
  Matrix dy;       // (n, H) f32
  Matrix x;        // (T, H) f32
  Matrix rstd;     // (1, n) f32, as the forward op wrote it
  Matrix rows;     // (1, n) I32; may be empty
};

// RmsNorm of each head by itself, as Qwen3 has it on queries and keys: a row of x is heads of head_dim, all with one
// weight.
struct HeadNorm {
  static constexpr const char* kName = "head_norm";
  Matrix out;     // (T, heads * head_dim) C; may be x
  Matrix x;       // (T, heads * head_dim) C
  Matrix weight;  // (1, head_dim) f32
  Matrix rstd;    // (T, heads) f32, written; may be empty
  float eps = 1e-6f;
};

// The gradient of x takes the place of that of the output.
struct HeadNormBackward {
  static constexpr const char* kName = "head_norm_backward";
  Matrix dy;               // (T, heads * head_dim) C: gradient of out in, of x out
  Matrix x, weight, rstd;  // as in the forward op
};

// dweight[j] += sum over rows and heads of dy x rstd, in an order that only their number decides.
struct HeadNormWeightBackward {
  static constexpr const char* kName = "head_norm_weight_backward";
  Matrix dweight;  // (1, head_dim) f32, added to
  Matrix dy, x;    // (T, heads * head_dim) C
  Matrix rstd;     // (T, heads) f32
};

// Rotary position embedding in place, half-split layout (Su et al. 2021; Hugging Face's rotate_half): within a head of
// d, (x[i], x[i+d/2]) turns by the angle of (position, i). `inverse` turns back: the gradient.
struct Rope {
  static constexpr const char* kName = "rope";
  Matrix x;          // (T, heads * head_dim) C
  Matrix positions;  // (1, T) I32
  Matrix cos, sin;   // (positions, head_dim / 2) f32
  int64_t head_dim = 0;
  bool inverse = false;
};

// out = silu(gate) * up. Shazeer 2020.
struct SwiGlu {
  static constexpr const char* kName = "swiglu";
  Matrix out, gate, up;  // (T, I) C
};

// gate and up are overwritten by their gradients; out receives silu(gate) * up again.
struct SwiGluBackward {
  static constexpr const char* kName = "swiglu_backward";
  Matrix gate, up;  // (T, I) C: values in, gradients out
  Matrix dout;      // (T, I) C
  Matrix out;       // (T, I) C, written; may be empty
};

// Keep-bits of inverted dropout for the input of one adapter: element (t, j) is kept where a counter-based hash of
// (keys[t], module, j) is at least probability * 2^16 in its 16 bits. keys hold everything the token's mask depends on
// (seed, step, example, position), so that recomputation, resume and another packing give the same mask.
struct DropoutMask {
  static constexpr const char* kName = "dropout_mask";
  Matrix bits;  // (T, 2 * ceil(columns / 16)) U8
  Matrix keys;  // (1, T) I32
  uint32_t module = 0;
  float probability = 0.0f;
};

// NEFTune (Jain et al. 2023): adds to each element of the embeddings a draw from U(-a, a), a = alpha / sqrt(L
// H), L the length of the token's sequence. Draws are a counter-based hash of (keys[t], column), in a stream
// apart from that of DropoutMask, so the same keys serve both; they lie strictly inside (-a, a), symmetric
// around 0. transformers takes for L the padded length of the micro-batch; here nothing is padded, and the
// noise of a row does not depend on its neighbours.
struct EmbeddingNoise {
  static constexpr const char* kName = "embedding_noise";
  Matrix x;       // (T, H) f32, added to
  Matrix keys;    // (1, T) I32
  Matrix starts;  // (1, S + 1) I32: first token of each sequence, then T
  float alpha = 0.0f;
};

// out = x, converted; f32 or bf16 on both sides. With `add`, out = x + add.
struct Copy {
  static constexpr const char* kName = "copy";
  Matrix out, x;
  Matrix add;  // (rows, cols) f32; may be empty
};

struct Fill {
  static constexpr const char* kName = "fill";
  Matrix out;  // f32 or bf16
  float value = 0.0f;
};

// y += scale * bias, a row (1, cols) f32, for every row of y.
struct AddBias {
  static constexpr const char* kName = "add_bias";
  Matrix y;
  Matrix bias;
  float scale = 1.0f;
};

// out (1, cols) f32 += scale * the sum of the rows of x: the gradient of a bias.
struct SumRows {
  static constexpr const char* kName = "sum_rows";
  Matrix out;
  Matrix x;
  float scale = 1.0f;
};

}  // namespace attune
