#include "quant/stored_matrix.h"

#include <cstring>

namespace attune {
int64_t StoredBytes(const StoredFormat& format, int64_t rows, int64_t cols) {
  switch (format.dtype) {
    case DType::kBnb4:
      return Bnb4Piece(format, rows * cols).bytes;
    case DType::kInt8Rows:
      return Int8RowsCodes(rows) + rows * cols;
    default:
      return BytesOf(format.dtype, rows * cols);
  }
}

Bnb4Piece::Bnb4Piece(const StoredFormat& format, int64_t elements) {
  const int64_t blocks = BlockCount(elements, format.block_size);
  map = AlignedBytes(static_cast<int64_t>(sizeof(Header)));
  absmax = map + (format.nested ? 256 * 4 : 0);
  nested_absmax = absmax + AlignedBytes(format.nested ? blocks : blocks * 4);
  codes = nested_absmax + (format.nested ? AlignedBytes(BlockCount(blocks, format.nested_block_size) * 4) : 0);
  bytes = codes + Bnb4PackedBytes(elements);
}

Bnb4View ViewBnb4Piece(const std::byte* memory, int64_t elements) {
  Bnb4Piece::Header header;
  std::memcpy(&header, memory, sizeof header);
  StoredFormat format{DType::kBnb4, header.block_size, header.nested_block_size != 0};
  if (format.nested) format.nested_block_size = header.nested_block_size;
  const Bnb4Piece piece(format, elements);
  Bnb4View view;
  std::memcpy(view.table.data(), header.table, sizeof header.table);
  view.block_size = format.block_size;
  view.packed = memory + piece.codes;
  view.absmax = memory + piece.absmax;
  view.nested = format.nested;
  view.nested_block_size = format.nested_block_size;
  view.nested_absmax = memory + piece.nested_absmax;
  view.nested_map = memory + piece.map;
  view.offset = header.offset;
  return view;
}

}  // namespace attune
