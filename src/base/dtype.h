// The element types of every file the program reads or writes, and their sizes. Block types hold several elements in
// one unit of bytes; their layouts are those of ggml (quant/ decodes them).
#pragma once

#include <cstdint>
#include <string_view>

namespace attune {

enum class DType : uint8_t {
  kF32,
  kF16,
  kBF16,
  kF64,
  kI64,
  kI32,
  kI16,
  kI8,
  kU8,
  kBool,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  // Of no file: matrices in memory with scales apart from their codes (quant/stored_matrix.h), which have no size a
  // unit.
  kBnb4,
  kInt8Rows,
};

// Elements and bytes of the smallest unit: 1 and the element size for plain types; 32 or 256 elements for blocks.
struct DTypeLayout {
  int64_t block_elements;
  int64_t block_bytes;
};

constexpr DTypeLayout LayoutOf(DType type) {
  switch (type) {
    case DType::kF32:
    case DType::kI32:
      return {1, 4};
    case DType::kF16:
    case DType::kBF16:
    case DType::kI16:
      return {1, 2};
    case DType::kF64:
    case DType::kI64:
      return {1, 8};
    case DType::kI8:
    case DType::kU8:
    case DType::kBool:
      return {1, 1};
    case DType::kQ4_0:
      return {32, 18};
    case DType::kQ4_1:
      return {32, 20};
    case DType::kQ5_0:
      return {32, 22};
    case DType::kQ5_1:
      return {32, 24};
    case DType::kQ8_0:
      return {32, 34};
    case DType::kQ2_K:
      return {256, 84};
    case DType::kQ3_K:
      return {256, 110};
    case DType::kQ4_K:
      return {256, 144};
    case DType::kQ5_K:
      return {256, 176};
    case DType::kQ6_K:
      return {256, 210};
    case DType::kBnb4:
    case DType::kInt8Rows:
      return {1, 0};
  }
  return {1, 1};
}

// The names people know them by: "F32", "BF16", "Q4_K", ...
constexpr std::string_view NameOf(DType type) {
  constexpr std::string_view kNames[] = {"F32",  "F16",  "BF16", "F64",  "I64",   "I32",  "I16",  "I8",
                                         "U8",   "BOOL", "Q4_0", "Q4_1", "Q5_0",  "Q5_1", "Q8_0", "Q2_K",
                                         "Q3_K", "Q4_K", "Q5_K", "Q6_K", "4-bit", "8-bit"};
  return kNames[static_cast<int>(type)];
}

// Bytes of `elements` elements; elements must be a multiple of block_elements.
constexpr int64_t BytesOf(DType type, int64_t elements) {
  const DTypeLayout layout = LayoutOf(type);
  return elements / layout.block_elements * layout.block_bytes;
}

}  // namespace attune
