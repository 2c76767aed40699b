// What a tensor file says about one tensor: the descriptor that safetensors and GGUF files share.
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/dtype.h"

namespace attune {

// A tensor inside a mapped file. `bytes` lies in the mapping and dies with the file object that gave it.
struct TensorView {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;  // outermost first: (out, in) for a linear weight, whatever the file's own order
  std::span<const std::byte> bytes;
};

// The product of the sizes, nothing when one is negative or it does not fit 63 bits. An empty shape is a
// scalar: 1.
inline std::optional<int64_t> ElementCount(std::span<const int64_t> shape) {
  int64_t count = 1;
  for (const int64_t size : shape) {
    if (size < 0 || __builtin_mul_overflow(count, size, &count)) return std::nullopt;
  }
  return count;
}

// The bytes a tensor of this type and shape takes, nothing when that overflows or rows are not whole blocks.
inline std::optional<int64_t> ByteCount(DType dtype, std::span<const int64_t> shape) {
  const std::optional<int64_t> elements = ElementCount(shape);
  if (!elements) return std::nullopt;
  const DTypeLayout layout = LayoutOf(dtype);
  const int64_t row = shape.empty() ? 1 : shape.back();
  if (row % layout.block_elements != 0) return std::nullopt;
  int64_t bytes = 0;
  if (__builtin_mul_overflow(*elements / layout.block_elements, layout.block_bytes, &bytes)) return std::nullopt;
  return bytes;
}

// "(576, 1536)", for error texts.
inline std::string ShapeText(std::span<const int64_t> shape) { return fmt::format("({})", fmt::join(shape, ", ")); }

}  // namespace attune
