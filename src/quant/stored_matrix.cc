#include "quant/stored_matrix.h"

namespace attune {

int64_t HeaderBytes(const StoredFormat& format) {
  switch (format.dtype) {
    case DType::kBnb4:
      return AlignedBytes(static_cast<int64_t>(sizeof(Bnb4Header)));
    case DType::kInt8Rows:
      return AlignedBytes(static_cast<int64_t>(sizeof(Int8RowsHeader)));
    default:
      return 0;
  }
}

int64_t StoredBytes(const StoredFormat& format, int64_t rows, int64_t cols) {
  switch (format.dtype) {
    case DType::kBnb4:
      return Bnb4Piece(format, rows * cols).bytes;
    case DType::kInt8Rows:
      return Int8RowsPiece(rows, cols).bytes;
    default:
      return BytesOf(format.dtype, rows * cols);
  }
}

Bnb4Piece::Bnb4Piece(const StoredFormat& format, int64_t elements) {
  const int64_t blocks = BlockCount(elements, format.block_size);
  map = HeaderBytes({DType::kBnb4});
  absmax = map + (format.nested ? 256 * 4 : 0);
  nested_absmax = absmax + AlignedBytes(format.nested ? blocks : blocks * 4);
  codes = nested_absmax + (format.nested ? AlignedBytes(BlockCount(blocks, format.nested_block_size) * 4) : 0);
  bytes = codes + Bnb4PackedBytes(elements);
}

Int8RowsPiece::Int8RowsPiece(int64_t rows, int64_t cols) {
  scales = HeaderBytes({DType::kInt8Rows});
  codes = scales + AlignedBytes(rows * 4);
  bytes = codes + rows * cols;
}

}  // namespace attune
