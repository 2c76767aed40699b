// Random weights in every stored format, for the tests of the ops that read them.
#pragma once

#include <vector>

#include "ops/cpu/stored_view.h"
#include "ops/test_operands.h"
#include "quant/gguf_blocks.h"
#include "quant/int8_rows.h"
#include "quant/stored_matrix.h"

namespace attune {

// A stored matrix, and what the decoders of quant/ make of it.
struct Sample {
  Matrix w;
  std::vector<float> values;
};

inline Sample OfFileType(Operands& o, DType type, int64_t rows, int64_t cols) {
  Sample s{StoredWeights(o, type, rows, cols), std::vector<float>(static_cast<size_t>(rows * cols))};
  DecodeBlocks(type, reinterpret_cast<const std::byte*>(Operands::Pointer(s.w)), rows * cols, s.values.data());
  return s;
}

// Each part in a block of its own, as they lie in a file.
template <class T>
DeviceAddress Part(Operands& o, const std::vector<T>& values) {
  const auto bytes = static_cast<int64_t>(values.size() * sizeof(T));
  return o.Bytes(values.data(), bytes, DType::kU8, 1).data;
}

template <class Header>
inline Matrix WithHeader(Operands& o, const Header& header, DType type, int64_t rows, int64_t cols) {
  return DenseMatrix(Part(o, std::vector<Header>{header}), type, rows, cols);
}

inline std::vector<float> Normal(Operands& o, int64_t count) {
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(o.random());
  return values;
}

inline Sample Bnb4(Operands& o, const StoredFormat& format, int64_t rows, int64_t cols) {
  const int64_t elements = rows * cols, blocks = BlockCount(elements, format.block_size);
  const std::vector<float> source = Normal(o, elements);
  std::vector<uint8_t> codes(static_cast<size_t>(Bnb4PackedBytes(elements)));
  std::vector<float> absmax(static_cast<size_t>(blocks));
  EncodeBnb4(format.type, format.block_size, DType::kF32, reinterpret_cast<const std::byte*>(source.data()), elements,
             codes.data(), absmax.data());
  Bnb4Header header{{}, 0, static_cast<int32_t>(format.block_size)};
  std::copy_n(Bnb4Table(format.type).begin(), 16, header.table);
  header.codes = Part(o, codes);
  if (format.nested) {
    const NestedScales nested = EncodeNestedScales(absmax);
    header.offset = nested.offset;
    header.nested_block_size = static_cast<int32_t>(format.nested_block_size);
    header.map = Part(o, Normal(o, 256));  // any map will do
    header.absmax = Part(o, nested.codes);
    header.nested_absmax = Part(o, nested.absmax);
  } else {
    header.absmax = Part(o, absmax);
  }
  Sample s{WithHeader(o, header, DType::kBnb4, rows, cols), std::vector<float>(static_cast<size_t>(elements))};
  DecodeBnb4(ViewBnb4(s.w), 0, elements, s.values.data());
  return s;
}

inline Sample Int8(Operands& o, int64_t rows, int64_t cols) {
  const std::vector<float> source = Normal(o, rows * cols);
  std::vector<float> absmax(static_cast<size_t>(rows));
  std::vector<int8_t> codes(source.size());
  EncodeInt8Rows(DType::kF32, reinterpret_cast<const std::byte*>(source.data()), rows, cols, codes.data(),
                 absmax.data());
  const Int8RowsHeader header{Part(o, absmax), Part(o, codes)};
  Sample s{WithHeader(o, header, DType::kInt8Rows, rows, cols), std::vector<float>(source.size())};
  DecodeInt8Rows(codes.data(), absmax.data(), rows, cols, s.values.data());
  return s;
}

// Every type and, of those without blocks in a row, awkward widths.
inline std::vector<Sample> Samples(Operands& o, int64_t rows, int64_t cols) {
  std::vector<Sample> samples;
  for (const DType type : kFileTypes) {
    if (cols % LayoutOf(type).block_elements == 0) samples.push_back(OfFileType(o, type, rows, cols));
  }
  for (const int64_t block : {32, 64, 256}) {
    for (const bool nested : {false, true}) samples.push_back(Bnb4(o, {DType::kBnb4, block, nested}, rows, cols));
  }
  samples.push_back(Bnb4(o, {DType::kBnb4, 64, false, NestedScales::kBlockSize, Bnb4Type::kFp4}, rows, cols));
  samples.push_back(Int8(o, rows, cols));
  return samples;
}

}  // namespace attune
