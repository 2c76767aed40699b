// Decoding a piece of a weight matrix from the type it is stored in to the compute type: what the packing of a product
// does as it goes, so that a quantised base is never expanded in memory.
#pragma once

#include "tensor/matrix.h"

namespace attune {

// Rows [row, row + rows) and columns [col, col + cols) of `w`, which is whole and dense. In ggml's block types col is a
// multiple of 16, and so is cols.
struct StoredTile {
  Matrix w;
  int64_t row = 0, rows = 0, col = 0, cols = 0;
  void* out = nullptr;     // (rows, cols), F32 or BF16
  int64_t out_stride = 0;  // elements
};

// To the bits of DecodeBlocks, DecodeBnb4 and DecodeInt8Rows (quant/), rounded to nearest even where `out_type` is
// BF16.
void DecodeTile(const StoredTile& tile, DType out_type);

}  // namespace attune
