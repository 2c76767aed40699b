// One linear layer: a frozen weight, an optional bias, an optional low-rank adapter, and which of them are trained.
//   y = x W^T + bias + scale * (drop(x) A^T B^T + the adapter's bias)      (Hu et al. 2021; PEFT's LoraLayer)
// Both directions read the same stored W; the adapter's products join the same pass and BA is never formed.
#pragma once

#include <cstdint>
#include <string>

#include "ops/device.h"
#include "tensor/matrix.h"

namespace attune {

// The magnitudes of a weight-decomposed adapter (models/dora.h), and the norms they are divided by.
struct LinearDora {
  Matrix magnitude, dmagnitude;  // (1, out) f32, trained; empty: a plain adapter
  Matrix norm, factor, squares;  // (1, out) f32: |W + scale B A|, magnitude / norm, |W|^2
};

struct LinearAdapter {
  int64_t rank = 0;  // 0: no adapter
  float scale = 1.0f;
  float dropout = 0.0f;
  uint32_t module = 0;       // names the adapter in the dropout masks
  Matrix a, b_transposed;    // (rank, in), (rank, out) in the compute dtype; bf16 ranks are padded to even with zeros
  Matrix da, db_transposed;  // (rank, in), (rank, out) f32 gradients, added to
  Matrix bias, dbias;        // (1, out) f32; empty: B has none
  LinearDora dora;
};

struct Linear {
  std::string tag;  // "gate_proj": the row of the profile
  Matrix weight;    // (out, in) compute dtype
  Matrix bias;      // (1, out) f32; may be empty
  Matrix dweight;   // (out, in) f32, added to; empty: frozen
  Matrix dbias;     // (1, out) f32, added to; empty: frozen
  LinearAdapter adapter;
};

// What the adapters of a layer share while they run.
struct LinearContext {
  Device& device;
  Matrix keys;              // (1, T) I32 dropout keys; empty: no dropout (evaluation)
  DeviceAddress mask_bits;  // room for the keep-bits of one input
  // Room of weight-decomposed adapters: an output's gradient (backward), and two inputs (with dropout).
  struct {
    DeviceAddress out, in, in2;
  } dora;
};

// y (T, out) f32 or C = the layer of x (T, in) C, plus `start` (T, out) f32 if given. `low` (T, rank) C keeps the
// low-rank activations for the backward pass; needed where there is an adapter; `direction` (T, out) C likewise for
// DoRA.
void LinearForward(const LinearContext& context, const Linear& layer, const Matrix& x, const Matrix& y,
                   const Matrix& start, const Matrix& low, const Matrix& direction = {});

// What the backward pass needs of a layer with an adapter whose output is not needed again: `low` and `direction`.
void AdapterForward(const LinearContext& context, const Linear& layer, const Matrix& x, const Matrix& low,
                    const Matrix& direction);

// Adds the layer's parameter gradients, and writes dx (T, in) f32 or C = dy W + adapter term + `start`; dx may be
// empty. dlow (T, rank) C is working room.
void LinearBackward(const LinearContext& context, const Linear& layer, const Matrix& x, const Matrix& dy,
                    const Matrix& dx, const Matrix& start, const Matrix& low, const Matrix& dlow,
                    const Matrix& direction = {});

// The mask of this adapter's input, drawn anew wherever it is needed: cheaper than keeping it. Empty without dropout.
KeepMask DrawInputMask(const LinearContext& context, const Linear& layer, const Matrix& x);

// Bytes of keep-bits for an input of `columns`, a row.
constexpr int64_t MaskRowBytes(int64_t columns) { return (columns + 15) / 16 * 2; }

}  // namespace attune
