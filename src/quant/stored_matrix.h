// How a frozen matrix lies in a device's memory: plain values, rows of ggml's blocks, or one of the two formats that have
// scales of their own, whole in one piece. Kernels decode it tile by tile (ops/cpu/stored_tile.h).
//
//   kBnb4      header (Bnb4Piece), map F32 x 256 (nested), scales (nested: U8) a block, nested scales F32, packed codes
//   kInt8Rows  scales F32 (rows), codes I8 (rows, cols)
//
// Each part starts at a multiple of 64 bytes from the start. Neither format is a file's: quant/bnb_checkpoint.h and
// quant/int8_rows.h say how those look.
#pragma once

#include <cstddef>
#include <cstdint>

#include "quant/bnb4.h"
#include "tensor/matrix.h"

namespace attune {

struct StoredFormat {
  DType dtype = DType::kF32;
  // Of kBnb4: elements a scale; whether the scales are quantised too, and how many by one scale; the codes' table, where they
  // are still to be made.
  int64_t block_size = 64;
  bool nested = false;
  int64_t nested_block_size = NestedScales::kBlockSize;
  Bnb4Type type = Bnb4Type::kNf4;

  bool operator==(const StoredFormat&) const = default;
};

// Bytes of a (rows, cols) matrix.
int64_t StoredBytes(const StoredFormat& format, int64_t rows, int64_t cols);

// Where the parts of a kBnb4 matrix start.
struct Bnb4Piece {
  // The first bytes.
  struct Header {
    float table[16];
    float offset;
    int32_t block_size;
    int32_t nested_block_size;  // 0: not nested
  };

  Bnb4Piece(const StoredFormat& format, int64_t elements);
  int64_t map, absmax, nested_absmax, codes, bytes;
};

// The matrix at `memory`, for decoding.
Bnb4View ViewBnb4Piece(const std::byte* memory, int64_t elements);

// Where the codes of a kInt8Rows matrix start.
inline int64_t Int8RowsCodes(int64_t rows) { return AlignedBytes(rows * 4); }

}  // namespace attune
