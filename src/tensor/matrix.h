// How the engine names memory: a device address, opaque outside ops/, and a matrix view over it. Everything the engine
// computes on is a matrix; a sequence batch is one matrix of T token rows (sequences are packed, never padded).
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace attune {

// A place in device memory. Only code under ops/ may turn it into a pointer (ops/cpu/raw.h): on a guarded device the
// memory is inaccessible except while an op runs.
struct DeviceAddress {
  uintptr_t value = 0;

  explicit operator bool() const { return value != 0; }
  DeviceAddress Plus(int64_t bytes) const { return {value + static_cast<uintptr_t>(bytes)}; }
};

// A (rows, cols) view, row-major, `stride` elements from one row to the next. Plain value; does not own.
struct Matrix {
  DeviceAddress data;
  DType dtype = DType::kF32;
  int64_t rows = 0, cols = 0, stride = 0;

  explicit operator bool() const { return static_cast<bool>(data); }

  Matrix Rows(int64_t first, int64_t count) const {
    return {data.Plus(first * BytesOf(dtype, stride)), dtype, count, cols, stride};
  }
  Matrix Columns(int64_t first, int64_t count) const {
    return {data.Plus(BytesOf(dtype, first)), dtype, rows, count, stride};
  }
};

// Sizes of tensors are rounded up to whole cache lines (64 bytes, also the widest vector).
inline int64_t AlignedBytes(int64_t bytes) { return (bytes + 63) / 64 * 64; }

// Whether rows that lie so far apart all meet in the same few sets of an L1 cache, as rows of whole pages do.
inline bool RowsCollide(DType dtype, int64_t stride) { return BytesOf(dtype, stride) % 4096 == 0; }

// Elements from one row of activations to the next: rows that would collide are each followed by a cache line that is
// not used.
inline int64_t SpreadStride(DType dtype, int64_t rows, int64_t cols) {
  constexpr int64_t kLine = 64;
  return rows > 1 && RowsCollide(dtype, cols) ? cols + kLine / BytesOf(dtype, 1) : cols;
}

// A dense (rows, cols) matrix at an address.
inline Matrix DenseMatrix(DeviceAddress data, DType dtype, int64_t rows, int64_t cols) {
  return {data, dtype, rows, cols, cols};
}

}  // namespace attune
