// How a frozen matrix lies in a device's memory: plain values, rows of ggml's blocks, or one of the two formats that
// have scales of their own. Of these a matrix is a header that says where its parts are: behind it, or in a file that
// is mapped. Kernels decode it tile by tile (ops/cpu/stored_tile.h).
//
//   kBnb4      map F32 x 256 (nested), scales (nested: U8) a block, nested scales F32, packed codes
//   kInt8Rows  scales F32 (rows), codes I8 (rows, cols)
//
// Behind its header each part starts at a multiple of 64 bytes; in a file, anywhere.
#pragma once

#include <cstddef>
#include <cstdint>

#include "quant/bnb4.h"
#include "tensor/matrix.h"

namespace attune {

struct StoredFormat {
  DType dtype = DType::kF32;
  // Of kBnb4: elements a scale; whether the scales are quantised too, and how many by one scale. Where codes are still
  // to be made: their table, and the type that values are rounded to before (F16, BF16; F32: they are not).
  int64_t block_size = 64;
  bool nested = false;
  int64_t nested_block_size = NestedScales::kBlockSize;
  Bnb4Type type = Bnb4Type::kNf4;
  DType source = DType::kF32;

  bool operator==(const StoredFormat&) const = default;
};

struct Bnb4Header {
  float table[16];
  float offset;
  int32_t block_size;
  int32_t nested_block_size;                        // 0: not nested
  DeviceAddress map, absmax, nested_absmax, codes;  // as in Bnb4View (quant/bnb4.h)
};

struct Int8RowsHeader {
  DeviceAddress scales, codes;
};

// Bytes of a (rows, cols) matrix, with its header and all parts.
int64_t StoredBytes(const StoredFormat& format, int64_t rows, int64_t cols);

// Bytes of its header; 0 for a format that has none.
int64_t HeaderBytes(const StoredFormat& format);

// Where the parts of a kBnb4 matrix start that follow their header.
struct Bnb4Piece {
  Bnb4Piece(const StoredFormat& format, int64_t elements);
  int64_t map, absmax, nested_absmax, codes, bytes;
};

// Of a kInt8Rows matrix likewise.
struct Int8RowsPiece {
  Int8RowsPiece(int64_t rows, int64_t cols);
  int64_t scales, codes, bytes;
};

}  // namespace attune
