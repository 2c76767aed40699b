// One linear layer whose adapter is weight-decomposed (DoRA, Liu et al. 2024, as PEFT computes it):
//   y = x W^T + bias + (g - 1) xd W^T + g scale xd A^T B^T,   g = m / |W + scale B A|, row by row; xd = drop(x)
// The norm is a constant in the backward pass. With u = xd W^T + scale xd A^T B^T, the direction:
//   y = (x - xd) W^T + bias + g u         (without dropout x = xd, and the product alone remains)
#pragma once

#include "models/linear.h"

namespace attune {

// As LinearForward, which calls it. `direction` (T, out) C or f32 keeps u for the backward pass.
void DoraForward(const LinearContext& context, const Linear& layer, const Matrix& x, const Matrix& y,
                 const Matrix& start, const Matrix& low, const Matrix& direction);

// The direction and the low-rank activations alone.
void DoraDirection(const LinearContext& context, const Linear& layer, const Matrix& x, const Matrix& low,
                   const Matrix& direction);

// As LinearBackward, which calls it.
void DoraBackward(const LinearContext& context, const Linear& layer, const Matrix& x, const Matrix& dy,
                  const Matrix& dx, const Matrix& start, const Matrix& low, const Matrix& dlow,
                  const Matrix& direction);

// Brings norm and factor up to date with A, B and the magnitude. `room`: DoraNormRoomBytes.
void RefreshDora(Device& device, const Linear& layer, DeviceAddress room);

// What RefreshDora needs for A W^T and A A^T; ranks as in memory.
int64_t DoraNormRoomBytes(int64_t rank, int64_t out);

}  // namespace attune
